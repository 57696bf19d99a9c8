//! Reads the notation of `data/python.grammar` into plain productions.
//!
//! Options, repetitions and choices inside an alternative become nonterminals of their own, without a
//! name: `[x]` is `N = | x`, `{x}` is `N = | N x` (left recursion, which costs Earley's algorithm
//! nothing). Equal ones are one.

use std::collections::HashMap;

use super::terminal::Terminal;

/// One symbol of a production.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Symbol {
    Terminal(Terminal),
    /// A nonterminal by its number.
    Rule(u16),
}

type Alternatives = Vec<Vec<Symbol>>;

/// A context-free grammar: productions of numbered nonterminals.
pub(super) struct Productions {
    /// The numbers of the nonterminals that have a name.
    pub named: HashMap<String, u16>,
    /// How many nonterminals there are.
    pub rules: usize,
    /// Left side and right side.
    pub all: Vec<(u16, Vec<Symbol>)>,
}

/// # Panics
/// On a mistake in the file, which is compiled into the program.
pub(super) fn read(file: &str) -> Productions {
    let rules = split(file);
    let numbers = 0..rules.len() as u16;
    let named: HashMap<String, u16> = rules.iter().map(|r| r.name.into()).zip(numbers).collect();
    assert_eq!(named.len(), rules.len(), "a rule stands twice");
    let mut reader = Reader {
        rules: named.len(),
        named,
        all: Vec::new(),
        shared: HashMap::new(),
    };
    for (n, rule) in rules.iter().enumerate() {
        let mut tokens = rule.tokens.as_slice();
        let alternatives = reader.alternatives(&mut tokens);
        assert!(tokens.is_empty(), "{}: a bracket too many", rule.name);
        reader.produce(n as u16, alternatives);
    }
    Productions {
        named: reader.named,
        rules: reader.rules,
        all: reader.all,
    }
}

struct Rule<'a> {
    name: &'a str,
    tokens: Vec<&'a str>,
}

/// The rules and the tokens of their right sides, without comments.
fn split(file: &str) -> Vec<Rule<'_>> {
    let mut rules: Vec<Rule> = Vec::new();
    for line in file.lines().filter(|line| !line.starts_with('#')) {
        let mut rest = line;
        if line.starts_with(|c: char| !c.is_whitespace()) {
            let (name, right) = line
                .split_once(" = ")
                .expect("a rule has a name and \" = \"");
            rest = right;
            let tokens = Vec::new();
            rules.push(Rule { name, tokens });
        }
        let tokens = std::iter::from_fn(|| {
            rest = rest.trim_start();
            let end = match rest.chars().next()? {
                '"' => rest[1..].find('"').expect("a quote closes") + 2,
                c if c.is_alphabetic() => {
                    let word = |c: char| c.is_alphanumeric() || c == '_';
                    rest.find(|c| !word(c)).unwrap_or(rest.len())
                }
                _ => 1,
            };
            let (token, behind) = rest.split_at(end);
            rest = behind;
            Some(token)
        });
        let tokens: Vec<&str> = tokens.collect();
        if !tokens.is_empty() {
            let rule = rules.last_mut().expect("a rule before its continuation");
            rule.tokens.extend(tokens);
        }
    }
    rules
}

struct Reader {
    named: HashMap<String, u16>,
    rules: usize,
    all: Vec<(u16, Vec<Symbol>)>,
    /// What has no name: by its opening bracket and its alternatives.
    shared: HashMap<(String, Alternatives), u16>,
}

impl Reader {
    fn produce(&mut self, left: u16, alternatives: Alternatives) {
        self.all
            .extend(alternatives.into_iter().map(|right| (left, right)));
    }

    /// Alternatives up to a closing bracket or the end.
    fn alternatives(&mut self, tokens: &mut &[&str]) -> Alternatives {
        let mut found = vec![Vec::new()];
        while let Some((&token, rest)) = tokens.split_first() {
            if matches!(token, ")" | "]" | "}") {
                break;
            }
            *tokens = rest;
            if token == "|" {
                found.push(Vec::new());
                continue;
            }
            let symbol = self.symbol(token, tokens);
            found.last_mut().expect("one alternative").push(symbol);
        }
        found
    }

    fn symbol(&mut self, token: &str, tokens: &mut &[&str]) -> Symbol {
        if matches!(token, "(" | "[" | "{") {
            let inside = self.alternatives(tokens);
            *tokens = tokens.split_first().expect("a bracket closes").1;
            return Symbol::Rule(self.nameless(token, inside));
        }
        let quoted = token.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
        let terminal = match quoted {
            Some(text) => Terminal::spelled(text),
            None => Terminal::of(token).filter(|t| t.is_class()),
        };
        match (terminal, self.named.get(token)) {
            (Some(terminal), _) => Symbol::Terminal(terminal),
            (None, Some(&rule)) => Symbol::Rule(rule),
            (None, None) => panic!("{token} is neither a terminal nor a rule"),
        }
    }

    fn nameless(&mut self, bracket: &str, alternatives: Alternatives) -> u16 {
        let key = (bracket.to_owned(), alternatives);
        if let Some(&rule) = self.shared.get(&key) {
            return rule;
        }
        let rule = self.rules as u16;
        self.rules += 1;
        let mut alternatives = key.1.clone();
        self.shared.insert(key, rule);
        if bracket == "{" {
            for right in &mut alternatives {
                right.insert(0, Symbol::Rule(rule));
            }
        }
        if bracket != "(" {
            alternatives.push(Vec::new());
        }
        self.produce(rule, alternatives);
        rule
    }
}
