//! What passes through the endpoints: counted, and broken where a fault waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Endpoint, Fault, FaultKind};
use crate::emulator::EmulatorError;

/// What passes through the endpoints: how much, and what goes wrong with it.
#[derive(Debug, Default)]
pub(in crate::emulator) struct Traffic {
    counts: Mutex<BTreeMap<Endpoint, u64>>,
    faults: Mutex<VecDeque<Fault>>,
}

impl Traffic {
    /// More faults than any test needs at a time.
    const FAULTS: usize = 1_000;

    pub(in crate::emulator) fn inject(&self, fault: Fault) -> Result<(), EmulatorError> {
        fault.fault.check()?;
        if fault.endpoint == Endpoint::Admin {
            let expected = "any other endpoint: a broken admin API could not be mended";
            return Err(EmulatorError::invalid("endpoint", "admin", expected));
        }
        let mut faults = self.faults();
        if faults.len() >= Self::FAULTS {
            let expected = "at most 1000 faults at a time: clear some first";
            return Err(EmulatorError::invalid("faults", faults.len().to_string(), expected));
        }
        if fault.times != Some(0) {
            faults.push_back(fault);
        }
        Ok(())
    }

    pub(in crate::emulator) fn clear(&self) {
        self.faults().clear();
    }

    pub(in crate::emulator) fn pending(&self) -> Vec<Fault> {
        self.faults().iter().cloned().collect()
    }

    pub(in crate::emulator) fn requests(&self, endpoint: Endpoint) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&endpoint).copied().unwrap_or_default()
    }

    /// Counts a request and says what is to go wrong with it.
    pub(in crate::emulator) fn enter(&self, endpoint: Endpoint) -> Option<FaultKind> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(endpoint).or_default() += 1;
        drop(counts);

        let mut faults = self.faults();
        let at = faults.iter().position(|fault| fault.endpoint == endpoint)?;
        let fault = faults.get_mut(at)?;
        let kind = fault.fault.clone();
        if let Some(times) = &mut fault.times {
            *times -= 1;
            if *times == 0 {
                faults.remove(at);
            }
        }
        Some(kind)
    }

    fn faults(&self) -> MutexGuard<'_, VecDeque<Fault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
