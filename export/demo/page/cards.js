// A card for each modality: what a person gives, turned to what the model reads.
import { encodeText, fit, readPicture, readSound, toLength } from "./media.js";

const TITLES = { image: "Picture", text: "Text", audio: "Sound" };
const LONGEST = 10; // seconds of a recording

export const titleOf = (name) => TITLES[name] ?? name;

/** What all cards do: title, hint, fault, "Remove", and the value that is given. */
class Card {
  value = null; // {dims, data}, without the batch
  #turn = 0;

  constructor(modality, about, changed) {
    this.modality = modality;
    this.about = about;
    this.changed = changed;
    this.sample = about.tensors.find((tensor) => tensor.source === modality.name).sample;
    const template = document.getElementById(modality.kind).content.cloneNode(true);
    this.element = template.querySelector(".card");
    this.element.classList.add(modality.kind);
    this.element.dataset.name = modality.name;
    const title = this.find("h3");
    title.textContent = titleOf(modality.name);
    title.id = `title-${modality.name}`;
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-labelledby", title.id);
    this.hint = this.find(".hint");
    this.remove = this.find(".remove");
    this.remove.setAttribute("aria-label", `Remove the ${title.textContent.toLowerCase()}`);
    this.remove.onclick = () => this.clear();
    if (modality.closed) this.close();
    this.prepare();
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  close() {
    this.element.classList.add("closed");
    this.hint.textContent = this.modality.closed;
    for (const each of this.element.querySelectorAll("input, select, textarea, button")) {
      each.disabled = true;
    }
  }

  /** Sets the value that `make` promises; a fault is told, and an older promise is dropped. */
  async set(make) {
    const mine = ++this.#turn;
    let fault = "";
    let value = null;
    try {
      value = await make();
    } catch (error) {
      fault = error.message;
    }
    if (mine !== this.#turn) return;
    this.value = value;
    this.show(value !== null, fault);
    this.changed();
  }

  clear() {
    this.empty();
    this.set(() => null);
  }

  show(given, fault) {
    this.element.classList.toggle("given", given);
    this.remove.hidden = !given;
    for (const [selector, hidden] of [[".shown", !given], [".drop", given]]) {
      const element = this.find(selector);
      if (element) element.hidden = hidden;
    }
    this.hint.setAttribute("role", fault ? "alert" : "note");
    this.hint.classList.toggle("fault", Boolean(fault));
    if (fault || !given) this.hint.textContent = fault;
  }

  /** Whether a file is for this card. */
  takes() {
    return false;
  }
}

/** A card that takes a file: picked, or dropped on it. */
class FileCard extends Card {
  prepare() {
    this.picker = this.find("input[type=file]");
    this.picker.onchange = () => {
      const [file] = this.picker.files;
      this.picker.value = ""; // the same file may be picked again
      if (file) this.take(file);
    };
  }

  empty() {}
}

const FITS = { stretch: "Scaled", pad: "Scaled on white", crop: "Cut and scaled" };

class PictureCard extends FileCard {
  prepare() {
    super.prepare();
    this.own = this.find(".option input");
    const [height, width] = this.modality.shape;
    this.anySize = height === null && width === null;
    this.own.onchange = () => this.set(() => this.read());
  }

  takes(file) {
    return file.type.startsWith("image/");
  }

  empty() {
    this.picture = null;
  }

  take(file) {
    this.set(async () => {
      this.picture = null;
      this.picture = await readPicture(file);
      return this.read();
    });
  }

  read() {
    const { height, width } = this.picture;
    const { fit: how, size: wanted } = this.modality;
    const own = this.own.checked || wanted === null;
    const given = own ? this.picture : fit(this.picture, ...wanted, how);
    const size = `${given.width} × ${given.height}`;
    const why = this.anySize ? "the size the model was verified on" : "the one size it takes";
    const scaled = given.height !== height || given.width !== width;
    this.hint.textContent = scaled
      ? `${FITS[how]} from ${width} × ${height} to ${size} pixels, ${why}.`
      : `${size} pixels, as they are.`;
    this.draw(given);
    return { dims: [given.height, given.width, 3], data: new Uint8Array(given.data) };
  }

  draw({ height, width, data }) {
    const canvas = this.find("canvas");
    canvas.height = height;
    canvas.width = width;
    canvas.classList.toggle("small", height < 144);
    canvas.setAttribute("aria-label", `The picture, ${width} × ${height} pixels`);
    const pixels = new ImageData(width, height);
    for (let i = 0, j = 0; j < data.length; i += 4) {
      pixels.data.set([data[j++], data[j++], data[j++], 255], i);
    }
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  }

  show(given, fault) {
    super.show(given, fault);
    this.find(".option").hidden = !(given && this.anySize && this.modality.size);
  }
}

class TextCard extends Card {
  prepare() {
    this.box = this.find("textarea");
    this.box.setAttribute("aria-labelledby", `title-${this.modality.name}`);
    if (this.modality.closed) return;
    this.box.placeholder = "A few words, in any language";
    let timer = 0;
    this.box.oninput = () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.set(() => this.read()), 200);
    };
  }

  empty() {
    this.box.value = "";
  }

  read() {
    const [length] = this.modality.shape;
    if (!this.box.value.trim()) return null;
    const whole = encodeText(this.box.value, null).length;
    const bytes = encodeText(this.box.value, length);
    this.hint.textContent =
      bytes.length < whole
        ? `The model reads the first ${bytes.length} of ${whole} bytes of UTF-8.`
        : `${whole} bytes of UTF-8.`;
    const data = toLength(bytes, length);
    return { dims: [data.length], data };
  }
}

class SoundCard extends FileCard {
  prepare() {
    super.prepare();
    this.player = this.find("audio");
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => this.samples && this.draw());
    this.player.setAttribute("aria-label", "The sound, to play again");
    this.button = this.find(".record");
    this.button.hidden = !navigator.mediaDevices || !window.MediaRecorder;
    this.button.onclick = () => (this.recorder ? this.recorder.stop() : this.record());
  }

  takes(file) {
    return file.type.startsWith("audio/") || file.type.startsWith("video/");
  }

  empty() {
    this.player.removeAttribute("src");
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = null;
  }

  take(file) {
    this.set(async () => {
      const rate = this.modality.sample_rate;
      const [length] = this.modality.shape;
      const samples = await readSound(file, rate);
      this.empty();
      this.player.src = this.url = URL.createObjectURL(file);
      const data = toLength(samples, length);
      const seconds = (count) => `${(count / rate).toFixed(2)} s`;
      this.hint.textContent =
        `${seconds(data.length)} at ${rate / 1000} kHz, one channel` +
        (data.length < samples.length ? `, the beginning of ${seconds(samples.length)}.` : "") +
        (data.length > samples.length ? `, with silence after ${seconds(samples.length)}.` : "") +
        (data.length === samples.length ? "." : "");
      this.samples = data;
      this.draw();
      return { dims: [data.length], data };
    });
  }

  async record() {
    let stream;
    this.button.disabled = true; // until the person has answered
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch (error) {
      this.show(this.value !== null, `The microphone can't be used: ${error.message}.`);
      return;
    } finally {
      this.button.disabled = false;
    }
    const parts = [];
    this.recorder = new MediaRecorder(stream);
    this.recorder.ondataavailable = ({ data }) => parts.push(data);
    const timer = setTimeout(() => this.recorder?.stop(), LONGEST * 1000);
    this.recorder.onstop = () => {
      clearTimeout(timer);
      for (const track of stream.getTracks()) track.stop();
      const { mimeType } = this.recorder;
      this.recorder = null;
      this.press(false);
      this.take(new File(parts, "The recording", { type: mimeType }));
    };
    this.recorder.start();
    this.press(true);
  }

  press(on) {
    this.button.setAttribute("aria-pressed", String(on));
    this.button.textContent = on ? "Stop" : "Record";
    if (on) this.show(this.value !== null, "");
    if (on) this.hint.textContent = `Recording, for ${LONGEST} s at most.`;
  }

  draw() {
    const { samples } = this;
    const canvas = this.find("canvas");
    const { width, height } = Object.assign(canvas, { width: 600, height: 120 });
    const context = canvas.getContext("2d");
    context.fillStyle = getComputedStyle(this.element).getPropertyValue("--accent");
    const peak = samples.reduce((most, each) => Math.max(most, Math.abs(each)), 1e-9);
    for (let x = 0; x < width; x++) {
      const from = Math.floor((x * samples.length) / width);
      const to = Math.max(from + 1, Math.floor(((x + 1) * samples.length) / width));
      const most = samples.subarray(from, to).reduce((m, each) => Math.max(m, Math.abs(each)), 0);
      const tall = Math.max(2, (most / peak) * height);
      context.fillRect(x, (height - tall) / 2, 1, tall);
    }
    canvas.setAttribute("aria-label", `The sound, ${samples.length} samples`);
  }
}

/** A card with one field: a number, or a choice. */
class FieldCard extends Card {
  prepare() {
    this.field = this.find("input, select");
    this.field.setAttribute("aria-labelledby", `title-${this.modality.name}`);
    this.field.onchange = () => this.set(() => this.read());
    this.field.oninput = this.field.onchange;
  }

  empty() {
    this.field.value = "";
  }

  /** A value in the shape of one sample: (), or (1,). */
  one(data) {
    return { dims: [...this.sample], data };
  }
}

class NumberCard extends FieldCard {
  prepare() {
    super.prepare();
    this.find(".unit").textContent = this.modality.unit;
  }

  read() {
    if (!this.field.value.trim()) return null;
    const value = Number(this.field.value);
    if (!Number.isFinite(value)) throw new Error("Not a number.");
    return this.one(Float32Array.of(value));
  }
}

class CategoryCard extends FieldCard {
  prepare() {
    super.prepare();
    const options = ["", ...this.modality.values, "another value"];
    this.field.append(
      ...options.map((name, k) => {
        const option = document.createElement("option");
        option.textContent = name;
        option.value = name && String(k < options.length - 1 ? k : 0);
        return option;
      }),
    );
  }

  read() {
    return this.field.value && this.one(Int32Array.of(Number(this.field.value)));
  }
}

const KINDS = {
  picture: PictureCard, text: TextCard, sound: SoundCard, number: NumberCard,
  category: CategoryCard,
};

export const makeCard = (modality, about, changed) =>
  new KINDS[modality.kind](modality, about, changed);
