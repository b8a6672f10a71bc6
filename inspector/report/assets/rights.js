// The little language of rights that 'maps --rights' takes: w&x, !r, rw, u(w|x)!C. Letters are questions about a
// mapping; ! is not, | or, & and, which may be left out.

const LETTERS = "rwxpuRC";
const DEPTH = 32;

/** The question that a text asks: a function of the letters that hold. Throws Problem. */
function parseRights(text) {
  let at = 0;
  let depth = 0;

  function next() {
    while (at < text.length && /\s/.test(text[at])) at += 1;
    return text[at] ?? "";
  }

  function wrong(problem) {
    return new Problem(`cannot read '${text}': ${problem}; write rights as in w&x, !r, rw or u(w|x)`);
  }

  function alternatives() {
    let found = allOf();
    while (next() === "|") {
      at += 1;
      const [one, other] = [found, allOf()];
      found = (holds) => one(holds) || other(holds);
    }
    return found;
  }

  function allOf() {
    let found = one();
    while (next() && !"|)".includes(next())) {
      if (next() === "&") at += 1;
      const [before, after] = [found, one()];
      found = (holds) => before(holds) && after(holds);
    }
    return found;
  }

  function one() {
    const letter = next();
    if (letter && LETTERS.includes(letter)) {
      at += 1;
      return (holds) => holds.includes(letter);
    }
    if (letter !== "!" && letter !== "(") {
      throw wrong(letter && !"&|)".includes(letter) ? `'${letter}' is not known` : "something is missing");
    }
    depth += 1;
    if (depth > DEPTH) throw wrong("it is nested too deep");
    at += 1;
    let found;
    if (letter === "!") {
      const denied = one();
      found = (holds) => !denied(holds);
    } else {
      found = alternatives();
      if (next() !== ")") throw wrong("')' is missing");
      at += 1;
    }
    depth -= 1;
    return found;
  }

  const question = alternatives();
  if (next()) throw wrong(next() === ")" ? "')' closes nothing" : `'${next()}' is not known`);
  return question;
}
