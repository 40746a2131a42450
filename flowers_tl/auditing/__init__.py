"""What is wrong with a data set: copies, labels, files; and the page that shows it."""
