//! What the members' ranks hold, told to all of them.
use crate::error::Result;
use crate::group::Group;
use ::memory::{Account, NUMBERS};

impl Group {
    /// The memory accounts of all members at this moment, in the order of their places.
    ///
    /// # Errors
    /// As for every collective.
    #[track_caller]
    pub fn memory(&self) -> Result<Vec<Account>> {
        let own = ::memory::account(self.members()[self.rank()]).to_numbers();
        let own = own.map(|bytes| bytes as i64);
        let mut all = vec![0; self.size() * NUMBERS];
        self.all_gather("memory", &own, &mut all)?;
        let account = |numbers: &[i64]| {
            let mut own = [0; NUMBERS];
            own.iter_mut().zip(numbers).for_each(|(own, n)| *own = *n as u64);
            Account::from_numbers(&own)
        };
        Ok(all.chunks(NUMBERS).map(account).collect())
    }
}
