//! Rounds of local steps, and what contradicts them.

use super::Common;
use crate::train::exchange::Exchange;
use crate::train::outer::Local;
use crate::train::shards::Reduce;
use crate::{Error, Result};

impl Common {
    /// The rounds of ranks that train by themselves.
    pub fn local(&self) -> Option<Local> {
        self.local_steps.map(|steps| Local {
            steps,
            learning_rate: self.outer_learning_rate,
            momentum: self.outer_momentum,
        })
    }

    /// Checks the settings of local steps against the others.
    ///
    /// # Errors
    /// [`Error::Usage`] that names two settings which contradict one another, and the way out.
    pub fn check_rounds(&self) -> Result<()> {
        let wrong = |text: String| Err(Error::Usage(text));
        let Some(Local { steps, .. }) = self.local() else {
            let outer = [
                (
                    "outer-learning-rate",
                    self.outer_learning_rate,
                    Local::LEARNING_RATE,
                ),
                ("outer-momentum", self.outer_momentum, Local::MOMENTUM),
            ];
            return match outer.iter().find(|(_, value, unset)| value != unset) {
                None => Ok(()),
                Some((name, value, _)) => wrong(format!(
                    "{name} = {value} without local-steps: there is no outer step; give local-steps, or \
                     leave {name} out"
                )),
            };
        };
        let sums = match (self.virtual_shards, self.reduce) {
            (1, Reduce::Exact) => None,
            (1, Reduce::Fast) => Some("reduce = fast".to_owned()),
            (shards, _) => Some(format!("virtual-shards = {shards}")),
        };
        if let Some(sums) = sums {
            return wrong(format!(
                "{sums} with local-steps = {steps}: each rank trains by itself, and adds up no gradients \
                 with others; leave one of them out"
            ));
        }
        if self.exchange == Exchange::Nccl {
            return wrong(format!(
                "exchange = nccl with local-steps = {steps}: what ranks exchange at an outer step goes \
                 through their hosts; leave one of them out"
            ));
        }
        for (name, value) in [
            ("max-steps", self.max_steps),
            ("checkpoint-every", self.checkpoint_every),
            ("eval-every", self.eval_every),
        ] {
            if let Some(value) = value.filter(|value| value % steps != 0) {
                return wrong(format!(
                    "{name} = {value} with local-steps = {steps}: between two outer steps every rank has \
                     weights of its own; give a multiple of {steps}, as {}",
                    value.next_multiple_of(steps)
                ));
            }
        }
        Ok(())
    }
}
