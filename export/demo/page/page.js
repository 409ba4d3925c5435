// The page: cards of what model.json says the model takes, and its answer to what they hold.
import { makeCard, titleOf } from "./cards.js";
import { Model } from "./model.js";
import { keyOf, shapley, shares, subsetsOf } from "./weights.js";

const TOP = 5;
const at = (id) => document.getElementById(id);
const state = { ready: false, busy: false, lastAnswer: null, fault: "" };
window.mmzoo = state; // for whoever asks the page by program, as its test does

let about, model, cards;
let turn = 0;

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function tellFault(text) {
  state.fault = text;
  at("fault").textContent = text;
  at("fault").hidden = !text;
}

/** Shows a number, or the labels that are given, in the place of the classes. */
function showPlain({ scores, milliseconds }, given) {
  const { kind, unit, threshold } = about.answer;
  const items = [];
  if (kind === "value") {
    items.push(make("li", "value", `${scores[0].toPrecision(4)} ${unit}`.trim()));
  } else {
    const order = [...scores.keys()].sort((a, b) => scores[b] - scores[a]);
    const found = order.filter((k) => scores[k] > threshold);
    for (const k of found) {
      const line = make("div", "line", make("span", "", classOf(k)));
      line.append(make("span", "", number(scores[k], true)));
      items.push(make("li", "", line));
    }
    if (!found.length) items.push(make("li", "", "None of the labels."));
  }
  at("classes").replaceChildren(...items);
  at("time").textContent = `Answered in ${milliseconds.toFixed(0)} ms, from ${join(given)}.`;
  at("weights").replaceChildren();
  at("meaning").textContent = "Weights are shown for models that choose one of several classes.";
  return items[0].textContent;
}

const classOf = (k) => about.classes?.[k] ?? `class ${k}`;
const best = (scores) => scores.reduce((top, score, k) => (score > scores[top] ? k : top), 0);
const join = (names) => names.map((name) => titleOf(name).toLowerCase()).join(", ");

/** Whether scores are probabilities of classes of which one holds. */
function areProbabilities(scores) {
  const sum = scores.reduce((a, b) => a + b, 0);
  return Math.abs(sum - 1) < 1e-3 && scores.every((score) => score >= 0);
}

function number(score, probable) {
  if (!probable) return score.toPrecision(4);
  if (score < 0.0005) return "< 0.1 %";
  return score > 0.9995 ? "> 99.9 %" : `${(100 * score).toFixed(1)} %`;
}

/** The scores, and the time, for these of the values. */
async function ask(values, names) {
  return model.answer(Object.fromEntries(names.map((name) => [name, values[name]])));
}

function showClasses({ scores, milliseconds }, given) {
  const probable = areProbabilities(scores);
  const order = [...scores.keys()].sort((a, b) => scores[b] - scores[a]).slice(0, TOP);
  const most = Math.max(...order.map((k) => Math.abs(scores[k])), 1e-12);
  at("classes").replaceChildren(
    ...order.map((k) => {
      const bar = make("i");
      bar.style.width = `${100 * Math.max(0, probable ? scores[k] : scores[k] / most)}%`;
      const line = make("div", "line", make("span", "", classOf(k)));
      line.append(make("span", "", number(scores[k], probable)));
      const track = make("div", "bar", bar);
      track.setAttribute("aria-hidden", "true");
      return make("li", "", line, track);
    }),
  );
  at("time").textContent = `Answered in ${milliseconds.toFixed(0)} ms, from ${join(given)}.`;
}

/** Each optional input's Shapley value, and what the model says of it alone. */
async function weigh(values, given, full, mine) {
  const players = given.filter((name) => cards[name].modality.optional);
  const always = given.filter((name) => !cards[name].modality.optional);
  const top = best(full.scores);
  const probable = areProbabilities(full.scores);
  const value = {};
  const subsets = {};
  for (const set of subsetsOf(players)) {
    const whole = set.length === players.length;
    const { scores } = whole ? full : await ask(values, [...always, ...set]);
    if (mine !== turn) return null;
    const finite = scores.every(Number.isFinite);
    if (!finite && set.length + always.length) {
      throw new Error(`The model answered NaN to ${join([...always, ...set])} alone.`);
    }
    // Of nothing at all a model may say nothing: then each class is as likely as another.
    const score = finite ? scores[top] : 1 / scores.length;
    value[keyOf(set)] = probable ? Math.log(Math.max(score, 1e-30)) : score;
    subsets[keyOf(set)] = finite ? Array.from(scores) : null;
  }
  const parts = shapley(players, value);
  return { parts, shares: shares(parts), subsets, always, top, probable };
}

function showWeights(found, given) {
  const list = at("weights");
  const { parts, always, top, probable, subsets } = found;
  list.replaceChildren(
    ...Object.entries(found.shares).map(([name, share]) => {
      const bar = make("i", share < 0 ? "against" : "for");
      bar.style.width = `${50 * Math.abs(share)}%`;
      const percent = `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(0)} %`;
      const line = make("div", "line", make("b", "", titleOf(name)), make("span", "", percent));
      const track = make("div", "bar", bar);
      track.setAttribute("aria-hidden", "true");
      const item = make("li", "", line, track);
      item.dataset.name = name;
      const alone = subsets[keyOf([name])];
      if (alone && !always.length && given.length > 1) {
        const k = best(alone);
        item.append(make("div", "note", `Alone: ${classOf(k)}, ${number(alone[k], probable)}`));
      }
      return item;
    }),
  );
  const count = Object.keys(parts).length;
  const what = probable ? `log-probability of “${classOf(top)}”` : `score of “${classOf(top)}”`;
  at("meaning").textContent =
    count + always.length < 2
      ? "One input is given, so the answer rests on it alone. Give another to compare them."
      : `Each input's Shapley value: its part of the ${what}, over all ${2 ** count} subsets of ` +
        "the inputs, as a share. To the left of the middle: it spoke against." +
        (always.length ? ` Always read, and so not weighed: ${join(always)}.` : "");
}

function showNoWeights() {
  at("weights").replaceChildren();
  at("meaning").textContent =
    "No weights: this model has no presence inputs for what is given, so it can't be asked what " +
    "it would say without one of them.";
}

/** What keeps the model from answering, in words; "" if nothing does. */
function lacking(given) {
  const missing = Object.values(cards)
    .filter(({ modality, value }) => !modality.optional && !value)
    .map(({ modality }) => modality.name);
  if (missing.length) return `The model needs ${join(missing)} too.`;
  return given.length ? "" : "Ready. Give one, or any of them together.";
}

async function update() {
  if (!state.ready) return;
  const mine = ++turn;
  const values = Object.fromEntries(Object.values(cards).map((c) => [c.modality.name, c.value]));
  const given = Object.keys(values).filter((name) => values[name]);
  tellFault("");
  const reason = lacking(given);
  at("status").textContent = reason;
  at("status").classList.remove("unseen");
  state.lastAnswer = null;
  state.busy = !reason;
  if (reason) {
    at("answer").hidden = true;
    return;
  }
  at("answer").classList.add("old");
  try {
    const full = await ask(values, given);
    if (mine !== turn) return;
    if (!full.scores.every(Number.isFinite)) throw new Error("The model answered NaN.");
    if (about.answer.kind !== "scores") {
      const told = showPlain(full, given);
      at("answer").hidden = false;
      at("answer").classList.remove("old");
      at("status").textContent = `Answer: ${told}.`;
      at("status").classList.add("unseen");
      state.lastAnswer = { given, scores: Array.from(full.scores), weights: null };
      state.busy = false;
      return;
    }
    const weighed = given.some((name) => cards[name].modality.optional);
    const found = weighed ? await weigh(values, given, full, mine) : null;
    if (mine !== turn) return;
    showClasses(full, given);
    if (found) showWeights(found, given);
    else showNoWeights();
    at("answer").hidden = false;
    at("answer").classList.remove("old");
    const k = best(full.scores);
    at("status").textContent = `Answer: ${classOf(k)}.`; // for those who hear the page
    at("status").classList.add("unseen");
    state.lastAnswer = { given, scores: Array.from(full.scores), weights: found };
  } catch (error) {
    if (mine !== turn) return;
    at("answer").hidden = true;
    at("status").textContent = "";
    tellFault(`The model did not answer: ${error.message} Reload the page if that stays so.`);
  }
  state.busy = false;
}

/** Files that are dropped or pasted go to the card under them, else to the first that takes them. */
function takeFiles(files, card) {
  const all = Object.values(cards).filter((each) => each.take && !each.modality.closed);
  for (const file of files) {
    const target = card?.take && !card.modality.closed ? card : all.find((c) => c.takes(file));
    target?.take(file);
  }
}

function listen() {
  const cardOf = (event) => {
    const element = event.target.closest?.(".card");
    return element ? cards[element.dataset.name] : undefined;
  };
  const mark = (over) => {
    for (const { element } of Object.values(cards)) {
      element.classList.toggle("over", over?.element === element && Boolean(over?.take));
    }
  };
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    mark(cardOf(event));
  });
  document.addEventListener("dragleave", () => mark());
  document.addEventListener("drop", (event) => {
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    mark();
    takeFiles(event.dataTransfer.files, cardOf(event));
  });
  document.addEventListener("paste", (event) => takeFiles(event.clipboardData?.files ?? []));
}

async function start() {
  about = await (await fetch("model.json")).json();
  document.title = `${about.name} · mmzoo`;
  at("name").textContent = about.name;
  const kinds = {
    picture: "a picture", text: "a text", sound: "a sound", number: "a number",
    category: "a choice",
  };
  const asked = about.modalities.map(({ kind }) => kinds[kind]);
  const list = [...new Set(asked)].join(", ");
  const count = about.classes ? `${about.classes.length} ` : "";
  at("lead").textContent =
    `Give it ${list.replace(/, ([^,]*)$/, " and $1")}: ` +
    {
      scores: `it says which of its ${count}classes fits best.`,
      labels: `it says which of its ${count}labels fit.`,
      value: `it answers ${about.output} with a number.`,
    }[about.answer.kind];
  cards = {};
  for (const modality of about.modalities) {
    cards[modality.name] = makeCard(modality, about, update);
    at("cards").append(cards[modality.name].element);
  }
  listen();
  model = new Model(about);
  at("status").textContent = `Loading the model (${(about.bytes / 1e6).toFixed(1)} MB) …`;
  await model.load();
  state.ready = true;
  update();
}

start().catch((error) => {
  at("status").textContent = "";
  tellFault(`The page did not start: ${error.message}`);
});
