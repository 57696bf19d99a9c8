//! Earley's algorithm (1970, "An Efficient Context-Free Parsing Algorithm") over persistent sets.

use std::ptr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::costs::{NEVER, TerminalCosts};
use super::tables::END;
use super::terminal::{TERMINALS, Terminal, TerminalSet};
use super::{Grammar, Start};

/// What may follow a sequence of terminals, and how far its end is.
///
/// A clone costs two counters: states are shared and never change, so that the hypotheses of a beam
/// part where they like. A step takes microseconds, however long the sequence is, and less where a clone
/// has gone the same way.
#[derive(Clone)]
pub struct Recogniser {
    grammar: Arc<Grammar>,
    set: Arc<Set>,
}

/// One production that is being recognised.
struct Item {
    slot: u16,
    /// Fewest tokens from the end of this production to an end of the text.
    outer: u16,
    /// The set in which it began; none for the whole text.
    origin: Option<Arc<Set>>,
}

/// Earley's set of items behind one terminal. What its items predict is not in it, see `tables`.
struct Set {
    /// Items with something behind the dot, sorted by what it is.
    items: Vec<Item>,
    /// Nonterminals behind the dots, with the fewest tokens from the end of each to an end of the text.
    waits: Vec<(u16, u16)>,
    /// For each terminal: fewest tokens to an end of the text once it has been pushed.
    after: TerminalCosts,
    /// Whether what has been pushed is a sentence.
    done: bool,
    /// Sets behind this one that are in use. Hypotheses of a beam, and texts that begin alike, go the same
    /// way; a set has the one before it as origin, so that this may not own it.
    next: Mutex<Vec<(Terminal, Weak<Set>)>>,
}

impl Recogniser {
    /// Behind nothing.
    pub fn new(grammar: &Arc<Grammar>, start: Start) -> Self {
        let mut building = Building::new(grammar);
        building.add(grammar.start(start), 0, None);
        let set = Arc::new(building.finish(None));
        let grammar = grammar.clone();
        Self { grammar, set }
    }

    /// The terminals that may follow where there is room for `tokens` more tokens, one of them the
    /// terminal's: behind each, an end fits. What has been pushed and any of them begin a sentence that
    /// can be written (the viable-prefix property).
    pub fn allowed_within(&self, tokens: usize) -> TerminalSet {
        let fits = |t: &Terminal| {
            let behind = self.shortest_behind(*t);
            behind.is_some_and(|behind| behind < tokens)
        };
        Terminal::all().filter(fits).collect()
    }

    /// Fewest tokens behind a terminal to where a text may end; `None` where it may not follow.
    pub fn shortest_behind(&self, terminal: Terminal) -> Option<usize> {
        let after = self.set.after[terminal.index()];
        (after != NEVER).then(|| usize::from(after))
    }

    /// Goes on by one terminal. False where it may not follow; then nothing changes.
    pub fn push(&mut self, terminal: Terminal) -> bool {
        if self.set.after[terminal.index()] == NEVER {
            return false;
        }
        let mut next = self.set.next.lock().unwrap_or_else(PoisonError::into_inner);
        let place = next.iter().position(|(known, _)| *known == terminal);
        let known = place.and_then(|place| next[place].1.upgrade());
        let set = known.unwrap_or_else(|| {
            let mut building = Building::new(&self.grammar);
            building.scan(&self.set, terminal);
            let set = Arc::new(building.finish(Some(terminal)));
            if let Some(place) = place {
                next.swap_remove(place);
            }
            next.push((terminal, Arc::downgrade(&set)));
            set
        });
        drop(next);
        self.set = set;
        true
    }

    /// Whether a text may end here. The end of a text ends its last line and all open blocks, as it
    /// does for Python.
    pub fn can_end(&self) -> bool {
        let closes = |t: Terminal| self.set.after[t.index()] == 0;
        self.set.done || closes(Terminal::NEWLINE) || closes(Terminal::DEDENT)
    }

    /// Fewest tokens to where a text may end; `None` where no end can be written.
    pub fn shortest_end(&self) -> Option<usize> {
        if self.can_end() {
            return Some(0);
        }
        let costs = self.grammar.terminal_costs().iter().zip(&self.set.after);
        let least = costs.map(|(&own, &after)| own.saturating_add(after)).min();
        least.filter(|&least| least != NEVER).map(usize::from)
    }
}

/// A set while it is made.
struct Building<'a> {
    grammar: &'a Grammar,
    items: Vec<Item>,
    /// One bit a slot: whether any item has it.
    seen: Vec<u64>,
}

impl<'a> Building<'a> {
    fn new(grammar: &'a Grammar) -> Self {
        Self {
            grammar,
            items: Vec::with_capacity(64),
            seen: vec![0; grammar.tables().slots().div_ceil(64)],
        }
    }

    fn add(&mut self, slot: u16, outer: u16, origin: Option<&Arc<Set>>) {
        let tables = self.grammar.tables();
        let (word, bit) = (usize::from(slot / 64), 1 << (slot % 64));
        let place = |origin: Option<&Arc<Set>>| origin.map_or(ptr::null(), Arc::as_ptr);
        let same =
            |item: &Item| item.slot == slot && ptr::eq(place(item.origin.as_ref()), place(origin));
        if self.seen[word] & bit != 0 && self.items.iter().any(same) {
            return;
        }
        self.seen[word] |= bit;
        self.items.push(Item {
            slot,
            outer,
            origin: origin.cloned(),
        });
        if tables
            .rule_behind(slot)
            .is_some_and(|rule| tables.is_nullable(rule))
        {
            self.add(slot + 1, outer, origin);
        }
    }

    /// Moves the dots of `from` over a terminal, then over all that this completes.
    fn scan(&mut self, from: &Arc<Set>, terminal: Terminal) {
        self.advance(from, terminal.index() as u16);
        let tables = self.grammar.tables();
        let mut at = 0;
        while at < self.items.len() {
            let Item {
                slot, ref origin, ..
            } = self.items[at];
            if let (END, Some(origin)) = (tables.next(slot), origin.clone()) {
                self.advance(&origin, TERMINALS as u16 + tables.left(slot));
            }
            at += 1;
        }
    }

    /// Adds what waits for `symbol` in `from`, with the dot behind it.
    fn advance(&mut self, from: &Arc<Set>, symbol: u16) {
        let tables = self.grammar.tables();
        let next = |item: &Item| tables.next(item.slot);
        let start = from.items.partition_point(|item| next(item) < symbol);
        for item in from.items[start..]
            .iter()
            .take_while(|item| next(item) == symbol)
        {
            self.add(item.slot + 1, item.outer, item.origin.as_ref());
        }
        for &(waiting, _) in &from.waits {
            for &slot in tables.behind(waiting, symbol) {
                let outer = from.outer(self.grammar, tables.left(slot));
                self.add(slot, outer, Some(from));
            }
        }
    }

    /// The set behind `last`.
    fn finish(self, last: Option<Terminal>) -> Set {
        let tables = self.grammar.tables();
        let costs = self.grammar.costs();
        let mut items = self.items;
        let is_end = |item: &Item| tables.next(item.slot) == END;
        let done = items
            .iter()
            .any(|item| is_end(item) && item.origin.is_none());
        items.retain(|item| !is_end(item));
        items.sort_by_key(|item| tables.next(item.slot));
        let mut after = [NEVER; TERMINALS];
        let mut waits: Vec<(u16, u16)> = Vec::new();
        for item in &items {
            let behind = costs.rest(item.slot + 1).before(item.outer);
            let Some(rule) = tables.rule_behind(item.slot) else {
                let best = &mut after[usize::from(tables.next(item.slot))];
                *best = (*best).min(behind);
                continue;
            };
            match waits.last_mut() {
                Some((last, best)) if *last == rule => *best = (*best).min(behind),
                _ => waits.push((rule, behind)),
            }
        }
        for &(rule, behind) in &waits {
            for (best, lead) in after.iter_mut().zip(costs.lead(rule)) {
                *best = (*best).min(lead.before(behind));
            }
        }
        for never in last.into_iter().flat_map(|last| self.grammar.apart(last)) {
            after[never.index()] = NEVER;
        }
        Set {
            items,
            waits,
            after,
            done,
            next: Mutex::default(),
        }
    }
}

impl Set {
    /// Fewest tokens to an end of the text behind a nonterminal that is predicted here.
    fn outer(&self, grammar: &Grammar, rule: u16) -> u16 {
        let ways = self.waits.iter();
        let ways =
            ways.map(|&(waiting, behind)| grammar.costs().climb(waiting, rule).before(behind));
        ways.min().unwrap_or(NEVER)
    }
}

impl Drop for Set {
    /// Without recursion: the origins of deep brackets are a long chain.
    fn drop(&mut self) {
        let mut open: Vec<Item> = std::mem::take(&mut self.items);
        while let Some(item) = open.pop() {
            if let Some(mut set) = item.origin.and_then(Arc::into_inner) {
                open.append(&mut set.items);
            }
        }
    }
}
