original = Image.open("image.jpg", formats=FORMATS)
image, tags, limits = ImageOps.exif_transpose(original), getattr(original, "tag_v2", {}), how["value_range"]
kind = tags.get(339, [3 if image.mode == "F" else 1])[0]
if image.mode[0] in "IF" or kind == 2:
    # Numbers become 8 bits by their range, never by the darkest and brightest of one image.
    numbers = np.asarray(image)
    if image.mode.startswith("I;") or (image.mode == "I" and original.format in ["PNG", "PPM"]):
        limits = [0, 2 ** tags.get(258, [16])[0] - 1]
    elif kind == 1 or image.mode == "L" or not (limits or kind == 3) or {340, 341} & {*tags}:
        raise SystemExit("Save this image in 8 bits: nothing says which of its numbers are black and white.")
    elif kind == 3 and 0 <= numbers.min() <= numbers.max() <= 1 and (not limits or 0 <= limits[0] < 255 <= limits[1]):
        limits = [0, 1]
    elif not limits or np.isnan(numbers).any():
        raise SystemExit("Save this image in 8 bits: its numbers are not from 0 to 1.")
    numbers = np.interp(numbers, limits, [65535, 0] if tags.get(262) == 0 else [0, 65535]).round()
    image = Image.fromarray((numbers / 257).astype(np.uint8))
# What is transparent lies on white.
image = image.convert("RGBA")
image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
