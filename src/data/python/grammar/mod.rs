//! Which tokens may follow in Python: a grammar, and a recogniser that runs along a decoder.
//!
//! `data/python.grammar` is read by `notation`, turned into look-up tables by `tables` and `costs`, and
//! run by [`Recogniser`]. What the grammar accepts, ruff's parser accepts (tested); of what that parser
//! accepts it leaves out little, see the grammar's head.

mod costs;
mod lexing;
mod notation;
mod recogniser;
mod tables;
mod terminal;

use std::sync::{Arc, LazyLock};

pub use costs::TerminalCosts;
pub use lexing::{Begun, terminal, terminals};
pub use recogniser::Recogniser;
pub use terminal::{TERMINALS, Terminal, TerminalSet};

use costs::Costs;
use notation::Symbol;
use tables::Tables;

/// What a text is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    /// Any number of statements.
    Module,
    /// One line of simple statements, or one compound statement with its body.
    Statement,
    /// One logical line without its end: simple statements, a decorator, or the first line of a
    /// compound statement or of a part of it (`else :`), with or without simple statements behind
    /// its colon.
    Line,
}

impl Start {
    /// Their rules in the grammar's file, in the order of the variants.
    const RULES: [&str; 3] = ["module", "statement", "line"];
}

/// The grammar, with what each terminal costs to write.
pub struct Grammar {
    costs: Costs,
}

/// What Python takes and ruff's parser does not: a `match` behind a semicolon is a statement of several
/// lines to it, and a `raise` alone ends with its line.
const APART: [(&str, &str); 2] = [(";", "match"), ("raise", ";")];

struct Shared {
    tables: Tables,
    /// By [`Start`]: the slot of a production that has only this start on its right side.
    starts: [u16; 3],
    /// Pairs that never stand side by side, whatever the productions say.
    apart: [(Terminal, Terminal); APART.len()],
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let mut productions = notation::read(include_str!("../../../../data/python.grammar"));
    let first = productions.all.len();
    for name in Start::RULES {
        let rule = Symbol::Rule(productions.named[name]);
        productions.all.push((productions.rules as u16, vec![rule]));
        productions.rules += 1;
    }
    let tables = Tables::new(&productions);
    let terminal = |text| Terminal::spelled(text).expect("a terminal");
    Shared {
        starts: std::array::from_fn(|n| tables.first[first + n]),
        tables,
        apart: APART.map(|(first, second)| (terminal(first), terminal(second))),
    }
});

impl Grammar {
    /// Python 3 where each terminal takes so many tokens; [`u16::MAX`]: it cannot be written, and
    /// nothing is begun that needs it. It may still follow where it would not have to: a token may
    /// come from elsewhere, such as the source of a model that copies.
    pub fn with_costs(terminals: TerminalCosts) -> Arc<Self> {
        let costs = Costs::new(&SHARED.tables, terminals);
        Arc::new(Self { costs })
    }

    /// What each terminal costs.
    pub fn terminal_costs(&self) -> &TerminalCosts {
        &self.costs.terminals
    }

    fn tables(&self) -> &'static Tables {
        &SHARED.tables
    }

    fn costs(&self) -> &Costs {
        &self.costs
    }

    /// The slot of the production that has only this start on its right side.
    fn start(&self, start: Start) -> u16 {
        SHARED.starts[start as usize]
    }

    /// Terminals that never stand right behind `last`.
    fn apart(&self, last: Terminal) -> impl Iterator<Item = Terminal> {
        let pairs = SHARED.apart.iter().filter(move |(first, _)| *first == last);
        pairs.map(|(_, second)| *second)
    }
}
