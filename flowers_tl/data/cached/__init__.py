"""What is computed once and kept on disk: decoded images, hashes of files, features."""
