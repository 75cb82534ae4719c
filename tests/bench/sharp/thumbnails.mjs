// Hash and thumbnails of photos by sharp, on one thread: the large one of the file, the small one of the large one.
// usage: thumbnails.mjs MODULES FOLDER PHOTO ...
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const [modules, folder, ...photos] = process.argv.slice(2);
const sharp = createRequire(`${modules}/`)("sharp");
sharp.concurrency(1);
sharp.cache(false);
const begun = performance.now();
for (const photo of photos) {
    const bytes = readFileSync(photo);
    createHash("sha256").update(bytes).digest("hex");
    const picture = sharp(bytes).autoOrient();
    await picture.metadata();
    const scaled = picture.resize(1440, 1440, { fit: "inside", withoutEnlargement: true }).toColourspace("srgb");
    const { data, info } = await scaled.raw().toBuffer({ resolveWithObject: true });
    const raw = { width: info.width, height: info.height, channels: info.channels };
    writeFileSync(`${folder}/large.jpg`, await sharp(data, { raw }).jpeg({ quality: 80 }).toBuffer());
    const small = sharp(data, { raw }).resize(256, 256, { fit: "inside" });
    writeFileSync(`${folder}/small.jpg`, await small.jpeg({ quality: 80 }).toBuffer());
}
console.log(photos.length / ((performance.now() - begun) / 1000));
