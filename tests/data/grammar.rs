//! The grammar of Python against the parser: what it accepts, what it refuses, what it writes.

use std::sync::{Arc, LazyLock};

use rnnx::data::corpus;
use rnnx::data::python::grammar::{Grammar, Recogniser, Start, TERMINALS, Terminal};
use rnnx::data::python::{parses, parses_as_line};

mod lexed;
mod terminals;

use lexed::{Token, of, source, tokens};

/// Every terminal one token.
fn python() -> Arc<Grammar> {
    static PYTHON: LazyLock<Arc<Grammar>> = LazyLock::new(|| Grammar::with_costs([1; TERMINALS]));
    PYTHON.clone()
}

/// The terminals that may follow where there is room for so many.
fn allowed(recogniser: &Recogniser, room: usize) -> Vec<Terminal> {
    let allowed = recogniser.allowed_within(room);
    Terminal::all().filter(|&t| allowed.contains(t)).collect()
}

/// How many of the tokens may follow one another, and whether the text may end behind them.
fn read(grammar: &Arc<Grammar>, start: Start, tokens: &[Token]) -> (usize, bool) {
    let mut recogniser = Recogniser::new(grammar, start);
    let refused = tokens.iter().position(|(t, _)| !recogniser.push(*t));
    (refused.unwrap_or(tokens.len()), recogniser.can_end())
}

fn is_accepted(start: Start, tokens: &[Token]) -> bool {
    read(&python(), start, tokens) == (tokens.len(), true)
}

fn corpus() -> Vec<(String, String)> {
    let files = corpus::embedded_files().expect("the corpus is in the binary");
    let text = |(path, bytes)| Some((path, String::from_utf8(bytes).ok()?));
    let texts = files.into_iter().filter_map(text);
    texts.filter(|(_, text)| parses(text)).collect()
}

#[test]
fn every_file_of_the_corpus_is_accepted() {
    let (mut files, mut pushed) = (0, 0);
    for (path, text) in corpus() {
        let tokens = tokens(&text);
        let (read, ends) = read(&python(), Start::Module, &tokens);
        let near = &tokens[read.saturating_sub(12)..tokens.len().min(read + 3)];
        assert_eq!(
            read,
            tokens.len(),
            "{path}: refused behind {}",
            source(near)
        );
        assert!(ends, "{path} may not end");
        (files, pushed) = (files + 1, pushed + tokens.len());
    }
    assert!(
        files > 700 && pushed > 1_000_000,
        "{files} files, {pushed} tokens"
    );
}

/// A small generator of numbers (Marsaglia 2003, xorshift).
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    fn terminal(&mut self) -> Token {
        written(Terminal::all().nth(self.below(TERMINALS)).expect("below"))
    }
}

fn written(terminal: Terminal) -> Token {
    let text = match terminal {
        Terminal::NAME => "x",
        Terminal::NUMBER => "1",
        Terminal::IMAGINARY => "2j",
        Terminal::STRING => "'s'",
        Terminal::FSTRING => "f'{x}'",
        Terminal::BYTES => "b'b'",
        Terminal::TEMPLATE => "t't'",
        Terminal::NEWLINE => "\n",
        Terminal::INDENT | Terminal::DEDENT => "",
        spelled => spelled.name(),
    };
    (terminal, text.to_owned())
}

/// The outermost statements of the corpus that are short, but for those with several clauses.
fn statements() -> Vec<Vec<Token>> {
    let mut found = Vec::new();
    for (_, text) in corpus() {
        let (mut statement, mut depth) = (Vec::new(), 0);
        let mut tokens = tokens(&text).into_iter().peekable();
        while let Some(token) = tokens.next() {
            let kind = token.0;
            statement.push(token);
            depth += usize::from(kind == Terminal::INDENT);
            depth -= usize::from(kind == Terminal::DEDENT);
            let ends = matches!(kind, Terminal::NEWLINE | Terminal::DEDENT) && depth == 0;
            if ends
                && tokens
                    .peek()
                    .is_none_or(|(next, _)| *next != Terminal::INDENT)
            {
                let statement = std::mem::take(&mut statement);
                if statement.len() < 100 && is_accepted(Start::Statement, &statement) {
                    found.push(statement);
                }
            }
        }
    }
    assert!(found.len() > 10_000, "{} statements", found.len());
    found
}

fn mutated(tokens: &[Token], draws: &mut Draws) -> Vec<Token> {
    let mut tokens = tokens.to_vec();
    let at = draws.below(tokens.len());
    match draws.below(4) {
        0 => drop(tokens.remove(at)),
        1 => tokens[at] = draws.terminal(),
        2 => tokens.insert(at, draws.terminal()),
        _ => {
            let other = draws.below(tokens.len());
            tokens.swap(at, other);
        }
    }
    tokens
}

/// Why the parser accepts what the grammar refuses: the grammar is CPython's there, or leaves out what
/// its head says.
fn explained(code: &str) -> Option<&'static str> {
    let kinds: Vec<Terminal> = tokens(code).iter().map(|(terminal, _)| *terminal).collect();
    let first = |name| kinds.iter().position(|&t| t == of(name));
    let behind = |name, what: &[&str]| {
        first(name).is_some_and(|at| what.iter().any(|w| kinds[at..].contains(&of(w))))
    };
    match () {
        () if first("yield").is_some() => Some("a yield as an operand"),
        () if behind("*", &["for"]) => Some("unpacking in a comprehension"),
        () if behind("case", &["FSTRING", "TEMPLATE"]) => Some("an f-string as a pattern"),
        () => None,
    }
}

#[test]
fn what_the_grammar_accepts_the_parser_accepts_and_nearly_the_other_way_round() {
    let mut draws = Draws(1);
    let (mut both, mut alone) = (0, 0);
    let statements = statements();
    for round in 0..8_000 {
        let mut changed = match round % 3 {
            0 => statements[draws.below(statements.len())].clone(),
            _ => walk(Start::Module, 20, &mut draws),
        };
        for _ in 0..=draws.below(2) {
            if !changed.is_empty() {
                changed = mutated(&changed, &mut draws);
            }
        }
        let code = source(&changed);
        match (is_accepted(Start::Module, &changed), parses(&code)) {
            (true, false) => panic!("{round}: accepted, but does not parse:\n{code}"),
            (true, true) => both += 1,
            (false, true) if !is_accepted(Start::Module, &tokens(&code)) => {
                assert!(explained(&code).is_some(), "refused, but parses:\n{code}");
                alone += 1;
            }
            _ => {}
        }
    }
    assert!(both > 1_000, "{both} mutants are Python");
    assert!(
        alone * 200 < both,
        "{alone} only by the parser, {both} by both"
    );
}

/// A random sentence of at most `longest` terminals.
fn walk(start: Start, longest: usize, draws: &mut Draws) -> Vec<Token> {
    let mut recogniser = Recogniser::new(&python(), start);
    let mut sentence = Vec::new();
    loop {
        let allowed = allowed(&recogniser, longest - sentence.len());
        if recogniser.can_end() && (allowed.is_empty() || draws.below(8) == 0) {
            return sentence;
        }
        let next = allowed[draws.below(allowed.len())];
        assert!(recogniser.push(next), "{next:?} was allowed");
        sentence.push(written(next));
    }
}

#[test]
fn what_the_grammar_writes_parses() {
    let mut draws = Draws(2);
    for n in 0..6_000 {
        let start = [Start::Module, Start::Statement, Start::Line][n % 3];
        let longest = [3, 6, 12, 30, 100][draws.below(5)];
        let sentence = walk(start, longest, &mut draws);
        assert!(sentence.len() <= longest, "{} terminals", sentence.len());
        let code = source(&sentence);
        let parses = match start {
            Start::Line => parses_as_line,
            Start::Module | Start::Statement => parses,
        };
        assert!(parses(&code), "{start:?} {n}:\n{code}");
    }
}

/// The terminals that go on from here.
fn next(recogniser: &Recogniser) -> Vec<Recogniser> {
    let pushed = allowed(recogniser, usize::MAX).into_iter().map(|terminal| {
        let mut pushed = recogniser.clone();
        assert!(pushed.push(terminal), "{terminal:?} was allowed");
        pushed
    });
    pushed.collect()
}

#[test]
fn the_shortest_end_is_the_shortest() {
    let mut draws = Draws(3);
    for n in 0..80 {
        let start = [Start::Line, Start::Module][n % 2];
        let line = walk(start, 24, &mut draws);
        let mut recogniser = Recogniser::new(&python(), start);
        for (terminal, _) in &line {
            let far = recogniser
                .shortest_end()
                .expect("all terminals can be written");
            assert_eq!(far == 0, recogniser.can_end());
            let behind = next(&recogniser).into_iter().map(|r| r.shortest_end());
            let nearest = behind.map(|far| far.expect("a viable prefix")).min();
            assert!(
                far == 0 || nearest == Some(far - 1),
                "{far}, then {nearest:?}"
            );
            assert!(recogniser.push(*terminal), "{terminal:?} was walked");
        }
        assert_eq!(recogniser.shortest_end(), Some(0));
    }
}

#[test]
fn what_cannot_be_written_is_never_needed() {
    let mut costs = [1; TERMINALS];
    for name in ["finally", "NAME", ")", "_"] {
        costs[of(name).index()] = u16::MAX;
    }
    let grammar = Grammar::with_costs(costs);
    let mut recogniser = Recogniser::new(&grammar, Start::Module);
    assert!(!recogniser.push(of("(")), "no bracket would close it");
    assert!(
        !recogniser.push(of("def")),
        "no bracket would close its parameters"
    );
    for name in ["try", ":", "match", "NEWLINE"] {
        assert!(recogniser.push(of(name)), "{name}");
    }
    let names: Vec<&str> = allowed(&recogniser, usize::MAX)
        .into_iter()
        .map(Terminal::name)
        .collect();
    assert_eq!(names, ["except", "finally"], "one may come from elsewhere");
    assert_eq!(recogniser.shortest_end(), Some(3), "a handler ends it");

    costs[of("NEWLINE").index()] = u16::MAX;
    let lines = Recogniser::new(&Grammar::with_costs(costs), Start::Statement);
    let allowed = lines.allowed_within(usize::MAX);
    assert!(
        allowed.contains(of("pass")),
        "the end of the text ends its line"
    );
    assert!(!allowed.contains(of("try")), "it needs a second line");

    let nothing = Grammar::with_costs([u16::MAX; TERMINALS]);
    let nothing = Recogniser::new(&nothing, Start::Statement);
    assert_eq!(nothing.shortest_end(), None);
}

#[test]
fn lines_of_programs_are_lines() {
    let lines = [
        "else :",
        "elif x in y :",
        "try :",
        "except ( A , B ) as e :",
        "except A , e :",
        "finally :",
        "while True : x += 1",
        "@ wraps ( f )",
        "class A ( object ) :",
        "async def f ( a , * , b = 1 , ** c ) -> int :",
        "else : x = 1 ; y = 2",
        "with a as b , c as d :",
        "return",
    ];
    for line in lines {
        assert!(parses_as_line(line), "{line}");
        let mut tokens = tokens(line);
        tokens.retain(|(terminal, _)| *terminal != Terminal::NEWLINE);
        assert!(is_accepted(Start::Line, &tokens), "{line}");
    }
    let others = [
        "else",
        "else : :",
        "if x :\n else :",
        "x = 1\ny :",
        "print x",
        "else :\n pass\nx",
    ];
    for other in others {
        assert!(!parses_as_line(other), "{other}");
    }
    assert!(parses_as_line("x = 1\ny = 2"), "a module");
}
