// The model: from what a person gave to scores, every tensor by its name.

const ARRAYS = {
  bool: Uint8Array, uint8: Uint8Array, int32: Int32Array, int64: BigInt64Array,
  float32: Float32Array,
};

/**
 * The tensors of one sample.
 *
 * about: model.json. values: {modality: {dims, data}}, without the batch. What is absent is as
 * `mmzoo predict` has it: zeros of the size that the model was verified on, and not present.
 */
export function feeds(about, values) {
  const tensors = {};
  for (const { name, dtype, source, presence_of: presence, sample } of about.tensors) {
    const given = values[source];
    if (presence) {
      tensors[name] = { dtype, dims: [1], data: Uint8Array.of(given ? 1 : 0) };
    } else if (given) {
      tensors[name] = { dtype, dims: [1, ...given.dims], data: given.data };
    } else {
      const size = sample.reduce((product, each) => product * each, 1);
      tensors[name] = { dtype, dims: [1, ...sample], data: new ARRAYS[dtype](size) };
    }
  }
  return tensors;
}

export class Model {
  #worker = new Worker("worker.js", { type: "module" });
  #waiting = new Map();
  #number = 0;

  constructor(about) {
    this.about = about;
    this.#worker.onmessage = ({ data: { number, result, fault } }) => {
      const { resolve, reject } = this.#waiting.get(number);
      this.#waiting.delete(number);
      if (fault === undefined) resolve(result);
      else reject(new Error(fault));
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      const error = new Error(event.message || "The model's thread did not start.");
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    };
  }

  /** Fetches the ONNX file and makes a session of it. */
  async load() {
    const answer = await fetch("model.onnx");
    if (!answer.ok) throw new Error(`model.onnx: ${answer.status} ${answer.statusText}`);
    await this.#ask("load", new Uint8Array(await answer.arrayBuffer()));
  }

  /** Returns {scores: Float32Array, milliseconds} for {modality: {dims, data}}. */
  async answer(values) {
    return this.#ask("run", { feeds: feeds(this.about, values), output: this.about.output });
  }

  #ask(what, value) {
    const number = this.#number++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject });
      this.#worker.postMessage({ number, what, value });
    });
  }
}
