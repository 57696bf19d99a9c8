//! How many tokens an end takes at least, for every place in the grammar: exact, by shortest paths.

use super::tables::Tables;
use super::terminal::{TERMINALS, Terminal};

/// No way to an end.
pub(super) const NEVER: u16 = u16::MAX;

/// Tokens that each terminal takes; [`u16::MAX`] for one that cannot be written.
pub type TerminalCosts = [u16; TERMINALS];

/// Shortest yields (Knuth 1977, "A Generalization of Dijkstra's Algorithm"), and what follows from
/// them. All in tokens; [`NEVER`] where there is no way.
pub(super) struct Costs {
    /// Of each terminal.
    pub terminals: TerminalCosts,
    /// By slot: what is behind the dot.
    rest: Vec<u16>,
    /// `[waiting, complete]`: from where the second nonterminal ends, which stands first in the first
    /// one, to the end of the first one.
    climb: Vec<u16>,
    /// `[waiting][terminal]`: from behind a nonterminal's first terminal to its end.
    lead: Vec<TerminalCosts>,
    rules: usize,
}

impl Costs {
    pub fn new(tables: &Tables, terminals: TerminalCosts) -> Self {
        let mut costs = Self {
            terminals,
            rest: vec![NEVER; tables.slots()],
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
    pub fn rest(&self, slot: u16) -> u16 {
        self.rest[usize::from(slot)]
    }

    /// See [`Costs::climb`].
    pub fn climb(&self, waiting: u16, complete: u16) -> u16 {
        self.climb[usize::from(waiting) * self.rules + usize::from(complete)]
    }

    /// See [`Costs::lead`].
    pub fn lead(&self, waiting: u16) -> &TerminalCosts {
        &self.lead[usize::from(waiting)]
    }

    fn settle_rest(&mut self, tables: &Tables) {
        let mut yields = vec![NEVER; tables.rules];
        loop {
            let before = yields.clone();
            for slot in (0..tables.slots() as u16).rev() {
                let next = tables.next(slot);
                self.rest[usize::from(slot)] = match tables.rule_behind(slot) {
                    Some(rule) => sum(yields[usize::from(rule)], self.rest(slot + 1)),
                    None if next == super::tables::END => 0,
                    None => sum(self.terminals[usize::from(next)], self.rest(slot + 1)),
                };
            }
            for &first in &tables.first {
                let best = &mut yields[usize::from(tables.left(first))];
                *best = (*best).min(self.rest(first));
            }
            if yields == before {
                return;
            }
        }
    }

    fn climb_in(&self, tables: &Tables, waiting: u16) -> Vec<u16> {
        let mut climb = vec![NEVER; self.rules];
        climb[usize::from(waiting)] = 0;
        loop {
            let before = climb.clone();
            for &slot in &tables.predicted[usize::from(waiting)] {
                if let Some(rule) = tables.rule_behind(slot) {
                    let over = sum(self.rest(slot + 1), climb[usize::from(tables.left(slot))]);
                    let best = &mut climb[usize::from(rule)];
                    *best = (*best).min(over);
                }
            }
            if climb == before {
                return climb;
            }
        }
    }

    fn lead_of(&self, tables: &Tables, waiting: u16, climb: &[u16]) -> TerminalCosts {
        let mut lead = [NEVER; TERMINALS];
        for terminal in Terminal::all() {
            for &slot in tables.behind(waiting, terminal.index() as u16) {
                let over = sum(self.rest(slot), climb[usize::from(tables.left(slot))]);
                let best = &mut lead[terminal.index()];
                *best = (*best).min(over);
            }
        }
        lead
    }
}

/// Both ways one after the other.
pub(super) fn sum(a: u16, b: u16) -> u16 {
    a.saturating_add(b)
}
