// How much each input weighs in an answer.

/** Every subset of the names, the empty one first. */
export function subsetsOf(names) {
  return names.reduce((found, name) => [...found, ...found.map((set) => [...set, name])], [[]]);
}

export const keyOf = (names) => [...names].sort().join("+");

/**
 * Shapley values: each name's part of value(all) - value(none), so that they sum to it.
 *
 * value: {keyOf(subset): number} for every subset of the names.
 */
export function shapley(names, value) {
  const factorial = (n) => (n < 2 ? 1 : n * factorial(n - 1));
  const total = factorial(names.length);
  const found = {};
  for (const name of names) {
    found[name] = 0;
    for (const set of subsetsOf(names.filter((other) => other !== name))) {
      const orders = factorial(set.length) * factorial(names.length - set.length - 1);
      found[name] += (orders / total) * (value[keyOf([...set, name])] - value[keyOf(set)]);
    }
  }
  return found;
}

/** Parts of one whole, with their signs: sizes that sum to 1; zeros if nothing weighs. */
export function shares(parts) {
  const whole = Object.values(parts).reduce((sum, part) => sum + Math.abs(part), 0);
  return Object.fromEntries(
    Object.entries(parts).map(([name, part]) => [name, whole ? part / whole : 0]),
  );
}
