//! What is computed once from the productions, so that a step of the recogniser looks things up.
//!
//! A *slot* is a production with a dot in it, numbered through all productions: slot + 1 is the same
//! production with the dot one symbol further. Predicted items are never stored: what the
//! nonterminals that a set waits for predict is in these tables (Aycock and Horspool 2002, "Practical
//! Earley Parsing", whose treatment of symbols that derive nothing is used, too).

use std::ops::Range;

use super::notation::{Productions, Symbol};
use super::terminal::TERMINALS;

/// What stands behind a slot's dot: terminals, then nonterminals, then nothing.
pub(super) const END: u16 = u16::MAX;

/// Rows of lists of slots, one behind the other.
struct Lists {
    starts: Vec<u32>,
    slots: Vec<u16>,
    columns: usize,
}

impl Lists {
    fn new(columns: usize, rows: impl Iterator<Item = Vec<(usize, u16)>>) -> Self {
        let (mut starts, mut slots) = (vec![0], Vec::new());
        for mut row in rows {
            row.sort_unstable();
            let mut row = row.into_iter().peekable();
            for column in 0..columns {
                while let Some((_, slot)) = row.next_if(|&(c, _)| c == column) {
                    slots.push(slot);
                }
                starts.push(slots.len() as u32);
            }
        }
        Self {
            starts,
            slots,
            columns,
        }
    }

    fn get(&self, row: u16, column: usize) -> &[u16] {
        let at = usize::from(row) * self.columns + column;
        &self.slots[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}

/// The productions as the recogniser reads them.
pub(super) struct Tables {
    /// Number of nonterminals.
    pub rules: usize,
    /// By slot: what stands behind the dot; a terminal, or [`TERMINALS`] + a nonterminal, or [`END`].
    next: Vec<u16>,
    /// By slot: the left side.
    left: Vec<u16>,
    /// By production: the slot with the dot in front.
    pub first: Vec<u16>,
    nullable: Vec<bool>,
    /// By nonterminal: what it predicts, itself included.
    pub predicted: Vec<Vec<u16>>,
    scans: Lists,
    gotos: Lists,
}

impl Tables {
    pub fn new(productions: &Productions) -> Self {
        let rules = productions.rules;
        let (mut next, mut left, mut first) = (Vec::new(), Vec::new(), Vec::new());
        for (lhs, right) in &productions.all {
            first.push(next.len() as u16);
            next.extend(right.iter().map(|symbol| match symbol {
                Symbol::Terminal(t) => t.index() as u16,
                Symbol::Rule(rule) => TERMINALS as u16 + rule,
            }));
            next.push(END);
            left.resize(next.len(), *lhs);
        }
        let nullable = nullable(productions);
        let mut tables = Self {
            rules,
            next,
            left,
            first,
            nullable,
            predicted: Vec::new(),
            scans: Lists::new(0, std::iter::empty()),
            gotos: Lists::new(0, std::iter::empty()),
        };
        tables.predicted = (0..rules as u16).map(|rule| tables.predict(rule)).collect();
        let scans = tables.behind_each(0..TERMINALS);
        let gotos = tables.behind_each(TERMINALS..TERMINALS + rules);
        (tables.scans, tables.gotos) = (scans, gotos);
        tables
    }

    /// By nonterminal and symbol, the slots behind the symbol of what the nonterminal predicts.
    fn behind_each(&self, symbols: Range<usize>) -> Lists {
        let rows = self.predicted.iter().map(|slots| {
            let found = slots.iter().map(|&s| (usize::from(self.next(s)), s + 1));
            let found = found.filter(|(next, _)| symbols.contains(next));
            found.map(|(next, s)| (next - symbols.start, s)).collect()
        });
        Lists::new(symbols.len(), rows)
    }

    /// What stands behind the dot, see [`Tables::next`].
    pub fn next(&self, slot: u16) -> u16 {
        self.next[usize::from(slot)]
    }

    /// The nonterminal behind the dot.
    pub fn rule_behind(&self, slot: u16) -> Option<u16> {
        let next = self.next(slot);
        (next != END && usize::from(next) >= TERMINALS).then(|| next - TERMINALS as u16)
    }

    /// The left side of a slot's production.
    pub fn left(&self, slot: u16) -> u16 {
        self.left[usize::from(slot)]
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        self.next.len()
    }

    /// Whether a nonterminal derives the empty text.
    pub fn is_nullable(&self, rule: u16) -> bool {
        self.nullable[usize::from(rule)]
    }

    /// The slots behind `symbol` (as [`Tables::next`] numbers them), of what `rule` predicts.
    pub fn behind(&self, rule: u16, symbol: u16) -> &[u16] {
        match usize::from(symbol).checked_sub(TERMINALS) {
            Some(complete) => self.gotos.get(rule, complete),
            None => self.scans.get(rule, usize::from(symbol)),
        }
    }

    /// The slots that stand where `rule` is to begin, the dot moved over what derives the empty text.
    fn predict(&self, rule: u16) -> Vec<u16> {
        let mut known = vec![false; self.rules];
        known[usize::from(rule)] = true;
        let (mut open, mut slots) = (vec![rule], Vec::new());
        while let Some(rule) = open.pop() {
            for &first in self.first.iter().filter(|&&slot| self.left(slot) == rule) {
                for slot in first.. {
                    if self.next(slot) != END {
                        slots.push(slot);
                    }
                    let Some(inner) = self.rule_behind(slot) else {
                        break;
                    };
                    if !std::mem::replace(&mut known[usize::from(inner)], true) {
                        open.push(inner);
                    }
                    if !self.is_nullable(inner) {
                        break;
                    }
                }
            }
        }
        slots
    }
}

fn nullable(productions: &Productions) -> Vec<bool> {
    let mut nullable = vec![false; productions.rules];
    loop {
        let before = nullable.clone();
        for (left, right) in &productions.all {
            nullable[usize::from(*left)] |= right.iter().all(|symbol| match symbol {
                Symbol::Terminal(_) => false,
                Symbol::Rule(rule) => before[usize::from(*rule)],
            });
        }
        if nullable == before {
            return nullable;
        }
    }
}
