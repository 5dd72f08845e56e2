//! The functions of this machine: made from the configuration, used by triggers and by the Invoke API alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use eventail_triggers::function::{Function, FunctionOptions};
use eventail_wire::{Clock, FunctionName};

/// The functions by name. They must be made in a runtime: functions with `min_instances` start them at once.
#[derive(Debug, Default)]
pub(crate) struct Functions(ArcSwap<BTreeMap<FunctionName, Arc<Function>>>);

impl Functions {
    /// Functions with these options: those that run under the same ones, and others that are made. They are not in use before they are
    /// stored.
    pub(crate) fn prepare(
        &self,
        options: &BTreeMap<FunctionName, FunctionOptions>,
        clock: &Arc<dyn Clock>,
    ) -> BTreeMap<FunctionName, Arc<Function>> {
        let running = self.0.load();
        let make = |(name, options): (&FunctionName, &FunctionOptions)| {
            let known = running.get(name).filter(|running| running.options() == options).cloned();
            (name.clone(), known.unwrap_or_else(|| Function::new(options.clone(), Arc::clone(clock))))
        };
        options.iter().map(make).collect()
    }

    /// Lets these be the functions. Those that were are ended when the last call of them is over.
    pub(crate) fn store(&self, functions: BTreeMap<FunctionName, Arc<Function>>) {
        self.0.store(Arc::new(functions));
    }

    pub(crate) fn get(&self, name: &FunctionName) -> Option<Arc<Function>> {
        self.0.load().get(name).cloned()
    }

    /// Ends all of them, side by side, and returns when the last process is gone.
    pub(crate) async fn close(&self) {
        let mut closing = tokio::task::JoinSet::new();
        for function in self.0.load_full().values() {
            let function = Arc::clone(function);
            closing.spawn(async move { function.close().await });
        }
        while let Some(closed) = closing.join_next().await {
            if let Err(error) = closed {
                tracing::error!(%error, "a function could not be closed");
            }
        }
    }
}
