// From files to numbers, as `mmzoo predict` reads them.

/** Half to even, as Python rounds. */
function round(x) {
  const near = Math.round(x);
  return near - x === 0.5 && near % 2 !== 0 ? near - 1 : near;
}

/** The pixels that each pixel of a line of `size` is made of: bilinear, wider to scale down. */
function taps(length, size) {
  const scale = length / size;
  const support = Math.max(scale, 1);
  return Array.from({ length: size }, (_, k) => {
    const centre = (k + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - support + 0.5));
    const last = Math.min(length, Math.floor(centre + support + 0.5));
    const weights = [];
    for (let i = first; i < last; i++) {
      weights.push(Math.max(0, 1 - Math.abs((i + 0.5 - centre) / support)));
    }
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

/** Scales RGB of `height` lines to `width` columns. */
function scaleColumns({ height, width, data }, size) {
  if (size === width) return { height, width, data };
  const out = new Uint8ClampedArray(height * size * 3); // it rounds
  taps(width, size).forEach(({ first, weights }, x) => {
    for (let y = 0; y < height; y++) {
      for (let c = 0; c < 3; c++) {
        const from = (y * width + first) * 3 + c;
        let sum = 0;
        for (let i = 0; i < weights.length; i++) sum += weights[i] * data[from + i * 3];
        out[(y * size + x) * 3 + c] = sum;
      }
    }
  });
  return { height, width: size, data: out };
}

function transpose({ height, width, data }) {
  const out = new Uint8ClampedArray(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) out[(x * height + y) * 3 + c] = data[(y * width + x) * 3 + c];
    }
  }
  return { height: width, width: height, data: out };
}

/** Scales a picture to a size, each side by itself. */
function stretch(picture, height, width) {
  return transpose(scaleColumns(transpose(scaleColumns(picture, width)), height));
}

/** Scales a picture to fit into a size, without distortion, and centres it on white. */
function pad(picture, height, width) {
  const scale = Math.min(height / picture.height, width / picture.width);
  const columns = Math.min(width, Math.max(1, round(picture.width * scale)));
  const lines = Math.min(height, Math.max(1, round(picture.height * scale)));
  const small = stretch(picture, lines, columns);
  const out = new Uint8ClampedArray(height * width * 3).fill(255);
  const top = Math.floor((height - lines) / 2);
  const left = Math.floor((width - columns) / 2);
  for (let y = 0; y < lines; y++) {
    const line = small.data.subarray(y * columns * 3, (y + 1) * columns * 3);
    out.set(line, ((top + y) * width + left) * 3);
  }
  return { height, width, data: out };
}

/** The middle of a picture, in the proportions of a size. */
function middle(picture, height, width) {
  const part = (of, a, b) => Math.min(of, Math.max(1, Math.floor((a * b[0]) / b[1])));
  const lines = part(picture.height, picture.width, [height, width]);
  const columns = part(picture.width, picture.height, [width, height]);
  const top = Math.floor((picture.height - lines) / 2);
  const left = Math.floor((picture.width - columns) / 2);
  const out = new Uint8ClampedArray(lines * columns * 3);
  for (let y = 0; y < lines; y++) {
    const start = ((top + y) * picture.width + left) * 3;
    out.set(picture.data.subarray(start, start + columns * 3), y * columns * 3);
  }
  return { height: lines, width: columns, data: out };
}

/** Brings a picture to a size as the manifest says: "stretch", "pad" or "crop". */
export function fit(picture, height, width, how) {
  if (picture.height === height && picture.width === width) return picture;
  if (how === "stretch") return stretch(picture, height, width);
  if (how === "pad") return pad(picture, height, width);
  if (how === "crop") return stretch(middle(picture, height, width), height, width);
  throw new Error(`There is no way called ${how} to bring a picture to size.`);
}

/** RGB of a picture's file: upright as its EXIF says, what is transparent on white. */
export async function readPicture(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {
      imageOrientation: "from-image", colorSpaceConversion: "none",
    });
  } catch {
    throw new Error(`${file.name || "It"} is no picture that this browser reads.`);
  }
  const { height, width } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const out = new Uint8ClampedArray(height * width * 3);
  for (let i = 0, j = 0; i < data.length; i += 4) {
    out[j++] = data[i];
    out[j++] = data[i + 1];
    out[j++] = data[i + 2];
  }
  return { height, width, data: out };
}

/** Float32 samples of a sound's file: one channel, the mean of all, at a rate in Hz. */
export async function readSound(file, rate) {
  const context = new OfflineAudioContext(1, 1, rate);
  let buffer;
  try {
    buffer = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new Error(`${file.name || "It"} is no sound that this browser reads.`);
  }
  const mean = new Float32Array(buffer.length);
  for (let c = 0; c < buffer.numberOfChannels; c++) {
    const channel = buffer.getChannelData(c);
    for (let i = 0; i < mean.length; i++) mean[i] += channel[i] / buffer.numberOfChannels;
  }
  if (!mean.length) throw new Error(`${file.name || "It"} holds no sound.`);
  return mean;
}

/** UTF-8 of a text, cut to `length` bytes at a character's border, if there is a length. */
export function encodeText(text, length) {
  const bytes = new TextEncoder().encode(text.replaceAll("\0", ""));
  if (length === null || bytes.length <= length) return bytes;
  let end = length;
  while (end > 0 && (bytes[end] & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end);
}

/** Zeros after a value, or its beginning alone, so that it is `length` long. */
export function toLength(value, length) {
  if (length === null || value.length === length) return value;
  const out = new value.constructor(length);
  out.set(value.subarray(0, length));
  return out;
}
