// Runs the model in a thread of its own, so that the page answers to a hand meanwhile.
import * as ort from "/runtime/ort.wasm.bundle.min.mjs";

ort.env.wasm.numThreads = 1; // more would need a page that is cross-origin isolated
ort.env.wasm.wasmPaths = { wasm: "/runtime/ort-wasm-simd-threaded.wasm" };

let session = null;

const requests = {
  async load(bytes) {
    session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  },

  /** feeds: {name: {dtype, dims, data}}; returns the named output's numbers and the time. */
  async run({ feeds, output }) {
    const tensors = {};
    for (const [name, { dtype, dims, data }] of Object.entries(feeds)) {
      tensors[name] = new ort.Tensor(dtype, data, dims);
    }
    const start = performance.now();
    const answer = await session.run(tensors, [output]);
    const milliseconds = performance.now() - start;
    return { scores: Float32Array.from(answer[output].data), milliseconds };
  },
};

self.onmessage = async ({ data: { number, what, value } }) => {
  try {
    self.postMessage({ number, result: await requests[what](value) });
  } catch (error) {
    self.postMessage({ number, fault: String(error?.message ?? error) });
  }
};
