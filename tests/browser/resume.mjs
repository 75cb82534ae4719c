// Sends a file to a running daemon with tus-js-client as it is, over a line that breaks; prints, as one JSON object, what
// was seen.
//
//   node resume.mjs BOX FILE [CHUNK]    CHUNK: bytes of one request, 1 MiB where it is left out, 0 for all that is left
//                                       OUTPOST_NODE_MODULES: folder with tus-js-client

import { readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import process from "node:process";

const { Upload } = createRequire(path.join(process.env.OUTPOST_NODE_MODULES, "x.js"))("tus-js-client");
const [box, file, chunk] = process.argv.slice(2);
let retries = 0;

const url = await new Promise((resolve, reject) => {
  const upload = new Upload(readFileSync(file), {
    endpoint: `${box}api/v1/uploads`,
    uploadSize: statSync(file).size,
    chunkSize: Number(chunk ?? 1 << 20) || Infinity,
    metadata: { filename: path.basename(file), filetype: "image/png" },
    retryDelays: Array(500).fill(100),
    onShouldRetry: () => {
      retries += 1;
      return true;
    },
    onError: reject,
    onSuccess: () => resolve(upload.url),
  });
  upload.start();
});
console.log(JSON.stringify({ url, retries }));
