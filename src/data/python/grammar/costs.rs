//! How many tokens an end takes at least, for every place in the grammar: exact, by shortest paths
//! (Knuth 1977, "A Generalization of Dijkstra's Algorithm").
//!
//! The end of a text ends its last line and all open blocks: NEWLINE and DEDENT cost nothing there. So a
//! way has two costs, of all its tokens and of those that are left when what closes it is left out.

use super::tables::{END, Tables};
use super::terminal::{TERMINALS, Terminal};

/// No way.
pub(super) const NEVER: u16 = u16::MAX;

/// Tokens that each terminal takes; [`u16::MAX`] for one that cannot be written.
pub type TerminalCosts = [u16; TERMINALS];

/// Fewest tokens of what is between two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// All of them.
    whole: u16,
    /// Without the NEWLINE and DEDENTs at its end: where nothing is behind it but such.
    last: u16,
}

impl Cost {
    const NEVER: Self = Self {
        whole: NEVER,
        last: NEVER,
    };
    const NOTHING: Self = Self { whole: 0, last: 0 };

    /// This, then something with `behind` tokens to the end of the text.
    pub fn before(self, behind: u16) -> u16 {
        let closed = if behind == 0 { self.last } else { NEVER };
        self.whole.saturating_add(behind).min(closed)
    }

    fn then(self, next: Self) -> Self {
        Self {
            whole: self.whole.saturating_add(next.whole),
            last: self.before(next.last),
        }
    }

    fn improve(&mut self, other: Self) {
        self.whole = self.whole.min(other.whole);
        self.last = self.last.min(other.last);
    }
}

/// The costs of all ways that the recogniser asks for.
pub(super) struct Costs {
    /// Of each terminal.
    pub terminals: TerminalCosts,
    /// By slot: what is behind the dot.
    rest: Vec<Cost>,
    /// `[waiting, complete]`: from where the second nonterminal ends, which stands first in the first
    /// one, to the end of the first one.
    climb: Vec<Cost>,
    /// `[waiting][terminal]`: from behind a nonterminal's first terminal to its end.
    lead: Vec<[Cost; TERMINALS]>,
    rules: usize,
}

impl Costs {
    pub fn new(tables: &Tables, terminals: TerminalCosts) -> Self {
        let mut costs = Self {
            terminals,
            rest: vec![Cost::NEVER; tables.slots()],
            climb: Vec::new(),
            lead: Vec::new(),
            rules: tables.rules,
        };
        costs.settle_rest(tables);
        for rule in 0..tables.rules as u16 {
            let climb = costs.climb_in(tables, rule);
            costs.lead.push(costs.lead_of(tables, rule, &climb));
            costs.climb.extend(climb);
        }
        costs
    }

    /// From behind the dot to the production's end.
    pub fn rest(&self, slot: u16) -> Cost {
        self.rest[usize::from(slot)]
    }

    /// See [`Costs::climb`].
    pub fn climb(&self, waiting: u16, complete: u16) -> Cost {
        self.climb[usize::from(waiting) * self.rules + usize::from(complete)]
    }

    /// See [`Costs::lead`].
    pub fn lead(&self, waiting: u16) -> &[Cost; TERMINALS] {
        &self.lead[usize::from(waiting)]
    }

    fn settle_rest(&mut self, tables: &Tables) {
        let mut yields = vec![Cost::NEVER; tables.rules];
        loop {
            let before = yields.clone();
            for slot in (0..tables.slots() as u16).rev() {
                self.rest[usize::from(slot)] = match (tables.next(slot), tables.rule_behind(slot)) {
                    (END, _) => Cost::NOTHING,
                    (_, Some(rule)) => yields[usize::from(rule)].then(self.rest(slot + 1)),
                    (terminal, None) => self.terminal(terminal).then(self.rest(slot + 1)),
                };
            }
            for &first in &tables.first {
                yields[usize::from(tables.left(first))].improve(self.rest(first));
            }
            if yields == before {
                return;
            }
        }
    }

    fn terminal(&self, index: u16) -> Cost {
        let closes = [Terminal::NEWLINE, Terminal::DEDENT].map(Terminal::index);
        let whole = self.terminals[usize::from(index)];
        let last = if closes.contains(&usize::from(index)) {
            0
        } else {
            whole
        };
        Cost { whole, last }
    }

    fn climb_in(&self, tables: &Tables, waiting: u16) -> Vec<Cost> {
        let mut climb = vec![Cost::NEVER; self.rules];
        climb[usize::from(waiting)] = Cost::NOTHING;
        loop {
            let before = climb.clone();
            for &slot in &tables.predicted[usize::from(waiting)] {
                if let Some(rule) = tables.rule_behind(slot) {
                    let way = self
                        .rest(slot + 1)
                        .then(climb[usize::from(tables.left(slot))]);
                    climb[usize::from(rule)].improve(way);
                }
            }
            if climb == before {
                return climb;
            }
        }
    }

    fn lead_of(&self, tables: &Tables, waiting: u16, climb: &[Cost]) -> [Cost; TERMINALS] {
        let mut lead = [Cost::NEVER; TERMINALS];
        for terminal in Terminal::all() {
            for &slot in tables.behind(waiting, terminal.index() as u16) {
                let way = self.rest(slot).then(climb[usize::from(tables.left(slot))]);
                lead[terminal.index()].improve(way);
            }
        }
        lead
    }
}
