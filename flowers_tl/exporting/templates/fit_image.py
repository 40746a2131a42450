side, resample = how["crop"], Image.Resampling[how["interpolation"].split(",")[0].upper()]
if how["fit"] == "squash":
    image = image.resize((side, side), resample)
elif how["fit"] == "pad":
    small = image.resize([max(1, side * length // max(image.size)) for length in image.size], resample)
    image = Image.new("RGB", (side, side), tuple(how["fill"]))
    image.paste(small, tuple((side - length) // 2 for length in small.size))
else:
    image = image.resize([how["resize"] * length // min(image.size) for length in image.size], resample)
left, top = (round((length - side) / 2) for length in image.size)
image = image.crop((left, top, left + side, top + side))
