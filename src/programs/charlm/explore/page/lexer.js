// What stands where in Python: after each character the depth of open brackets, whether a string is
// open, the indentation of the line as far as it has been read, and the column.
const PROPERTIES = [
  { key: "depth", name: "bracket depth", measure: "r" },
  { key: "string", name: "in a string", measure: "AUC" },
  { key: "indent", name: "indent", measure: "r" },
  { key: "column", name: "column", measure: "r" },
];

function lex(chars) {
  const marks = Object.fromEntries(PROPERTIES.map(({ key }) => [key, new Float32Array(chars.length)]));
  let depth = 0, column = 0, indent = 0;
  let isBlank = true; // nothing but blanks in this line yet
  let isComment = false;
  let quote = ""; // what ends the open string
  let skip = 0; // characters that belong to what was read before: of a delimiter, or escaped
  let closing = false;
  chars.forEach((char, i) => {
    if (skip > 0) skip--;
    else if (quote) {
      if (char === "\\") skip = 1;
      else if (quote.length === 1 && char === "\n") quote = ""; // never ended
      else if (chars.slice(i, i + quote.length).join("") === quote) {
        skip = quote.length - 1;
        closing = true;
      }
    } else if (isComment) isComment = char !== "\n";
    else if (char === "#") isComment = true;
    else if (char === '"' || char === "'") {
      const isTriple = chars[i + 1] === char && chars[i + 2] === char;
      quote = isTriple ? char.repeat(3) : char;
      skip = quote.length - 1;
    } else if ("([{".includes(char)) depth++;
    else if (")]}".includes(char)) depth = Math.max(0, depth - 1);
    if (closing && skip === 0) [quote, closing] = ["", false];

    if (char === "\n") {
      [column, indent, isBlank] = [0, 0, true];
    } else {
      column++;
      isBlank &&= char === " " || char === "\t";
      if (isBlank) indent = column;
    }
    marks.depth[i] = depth;
    marks.string[i] = quote ? 1 : 0;
    marks.indent[i] = indent;
    marks.column[i] = column;
  });
  return marks;
}
