// Text as the model reads it: characters in NFC, or bytes.

class Alphabet {
  constructor({ tokens, bytes, unknown }) {
    this.tokens = tokens;
    this.bytes = bytes;
    this.unknown = unknown;
    this.ids = new Map();
    tokens.forEach((token, id) => id === unknown || this.ids.set(token, id));
  }

  // The characters of `text`, and for each the ids that stand for it: one, the bytes of it, or none
  // where the vocabulary lacks it and has no token for such.
  read(text) {
    const reading = { chars: [], at: [], first: [0], ids: [], isOdd: [], odd: 0, skipped: 0 };
    let at = 0;
    for (const char of text) {
      const symbols = this.bytes ? [...new TextEncoder().encode(char)].map((b) => String.fromCharCode(b)) : [char];
      const ids = symbols.map((symbol) => this.ids.get(symbol) ?? this.unknown);
      const isOdd = symbols.some((symbol) => !this.ids.has(symbol));
      this.add(reading, char, at, ids.filter((id) => id !== null), isOdd);
      at += char.length;
    }
    return reading;
  }

  add(reading, char, at, ids, isOdd = false) {
    reading.chars.push(char);
    reading.at.push(at);
    for (const id of ids) reading.ids.push(id);
    reading.first.push(reading.ids.length);
    reading.isOdd.push(isOdd);
    if (isOdd) reading[ids.length ? "odd" : "skipped"]++;
  }

  // Text in the form that the model has it in.
  normal(text) {
    return this.bytes ? text : text.normalize("NFC");
  }

  // A token in words.
  name(id) {
    const token = this.tokens[id];
    if (id === this.unknown) return token;
    if (this.bytes && token > "~") return `0x${token.charCodeAt(0).toString(16).toUpperCase()}`;
    return nameOf(token);
  }

  // The byte or the character of a token.
  write(id) {
    if (id === this.unknown) return new TextEncoder().encode("\ufffd");
    return this.bytes ? Uint8Array.of(this.tokens[id].charCodeAt(0)) : new TextEncoder().encode(this.tokens[id]);
  }
}

// A character as one can see it.
function nameOf(char) {
  const words = { "\n": "newline", " ": "space", "\t": "tab" };
  if (words[char]) return words[char];
  return /^[\p{L}\p{N}\p{P}\p{S}]+$/u.test(char) ? char : `U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}
