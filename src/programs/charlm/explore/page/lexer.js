// What stands where in Python, after each character: the depth of open brackets, whether a string is
// open, the levels of the line's indentation, the column. As in rnnx study, a string is open once all of its
// opening delimiter has been read until all of its closing one has, and the white space at the start
// of a line has the line's whole indentation already.
const PROPERTIES = [
  { key: "depth", name: "bracket depth", measure: "r" },
  { key: "string", name: "in a string", measure: "AUC" },
  { key: "indent", name: "indent", measure: "r" },
  { key: "column", name: "column", measure: "r" },
];

function lex(chars) {
  const marks = Object.fromEntries(PROPERTIES.map(({ key }) => [key, new Float32Array(chars.length)]));
  const widths = [0]; // of the blocks that are open, in columns
  // The indentation of the line that starts at `i`; that of the line before where it is blank, holds
  // a comment alone, or goes on with what a bracket or a string began.
  const indentation = (i, before, goesOn) => {
    let end = i;
    let width = 0;
    for (; [" ", "\t", "\f"].includes(chars[end]); end++) {
      width = chars[end] === "\t" ? 8 * (Math.floor(width / 8) + 1) : chars[end] === "\f" ? 0 : width + 1;
    }
    if (goesOn || ["\n", "#", undefined].includes(chars[end])) return before;
    while (widths.at(-1) > width) widths.pop();
    if (widths.at(-1) < width) widths.push(width);
    return widths.length - 1;
  };
  let depth = 0, column = 0;
  let indent = indentation(0, 0, false);
  let isComment = false;
  let quote = ""; // what ends the string
  let rest = 0; // characters still to come of a delimiter, or behind a backslash
  let then = ""; // what the string's end is once they have come
  chars.forEach((char, i) => {
    if (rest > 0) rest--;
    else if (quote) {
      if (char === "\\") rest = 1;
      else if (char === "\n" && quote.length === 1) then = ""; // never closed
      else if (chars.slice(i, i + quote.length).join("") === quote) [then, rest] = ["", quote.length - 1];
    } else if (isComment) isComment = char !== "\n";
    else if (char === "#") isComment = true;
    else if (char === '"' || char === "'") {
      const isTriple = chars[i + 1] === char && chars[i + 2] === char;
      [then, rest] = isTriple ? [char.repeat(3), 2] : [char, 0];
    } else if ("([{".includes(char)) depth++;
    else if (")]}".includes(char)) depth = Math.max(0, depth - 1);
    if (rest === 0) quote = then;

    column = char === "\n" ? 0 : column + 1;
    if (char === "\n") indent = indentation(i + 1, indent, depth > 0 || quote !== "");
    marks.depth[i] = depth;
    marks.string[i] = quote ? 1 : 0;
    marks.indent[i] = indent;
    marks.column[i] = column;
  });
  return marks;
}
