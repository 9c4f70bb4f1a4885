//! The calls that all members of a group make together.
use crate::call::{Call, Op, Reduce};
use crate::error::Result;
use crate::group::Group;
use crate::number::Number;
use crate::pending::{Lease, Pending};
use std::ops::DerefMut;

impl Group {
    /// `data` becomes what `reduce` makes of all members' data, element by element, in
    /// the order of their places.
    ///
    /// # Errors
    /// The members disagree, or one of them failed or will never make this call.
    #[track_caller]
    pub fn all_reduce<T: Number>(
        &self,
        family: &'static str,
        data: &mut [T],
        reduce: Reduce,
    ) -> Result<()> {
        self.check_average::<T>(reduce)?;
        self.collective(Call::in_place(Op::AllReduce(reduce), family, data))
    }
    /// As [`Group::all_reduce`], started now: the lease is the call's until it was
    /// waited for.
    ///
    /// # Errors
    /// The members disagree, or one of them failed.
    #[track_caller]
    pub fn start_all_reduce<T: Number, L: DerefMut<Target = [T]> + 'static>(
        &self,
        family: &'static str,
        lease: L,
        reduce: Reduce,
    ) -> Result<Pending<L>> {
        self.check_average::<T>(reduce)?;
        let (lease, call) = Lease::new(lease, |data| {
            Call::in_place(Op::AllReduce(reduce), family, data)
        });
        self.start(call, lease)
    }

    /// `out [size · n]` becomes all members' `part [n]`, in the order of their places.
    ///
    /// # Errors
    /// As for [`Group::all_reduce`]; or `out` is not that long.
    #[track_caller]
    pub fn all_gather<T: Number>(
        &self,
        family: &'static str,
        part: &[T],
        out: &mut [T],
    ) -> Result<()> {
        self.check_length("all_gather", "out", out.len(), self.size() * part.len())?;
        self.collective(Call::new(Op::AllGather, family, part, out))
    }
    /// Of `data [size · n]`, this member's part is there; the others' are filled in.
    /// Started now.
    ///
    /// # Errors
    /// As for [`Group::start_all_reduce`]; or `data` does not divide.
    #[track_caller]
    pub fn start_all_gather<T: Number, L: DerefMut<Target = [T]> + 'static>(
        &self,
        family: &'static str,
        lease: L,
    ) -> Result<Pending<L>> {
        let n = lease.len() / self.size();
        self.check_length("all_gather", "data", lease.len(), self.size() * n)?;
        let (lease, mut call) =
            Lease::new(lease, |data| Call::in_place(Op::AllGather, family, data));
        call.keep_input(self.rank() * n..(self.rank() + 1) * n);
        self.start(call, lease)
    }

    /// `out [n]` becomes this member's part of what `reduce` makes of all members'
    /// `data [size · n]`.
    ///
    /// # Errors
    /// As for [`Group::all_reduce`]; or `data` is not that long.
    #[track_caller]
    pub fn reduce_scatter<T: Number>(
        &self,
        family: &'static str,
        data: &[T],
        out: &mut [T],
        reduce: Reduce,
    ) -> Result<()> {
        self.check_average::<T>(reduce)?;
        let want = self.size() * out.len();
        self.check_length("reduce_scatter", "data", data.len(), want)?;
        self.collective(Call::new(Op::ReduceScatter(reduce), family, data, out))
    }
    /// Of `data [size · n]`, this member's part becomes what `reduce` makes of all
    /// members'; the rest stays as it is. Started now.
    ///
    /// # Errors
    /// As for [`Group::start_all_reduce`]; or `data` does not divide.
    #[track_caller]
    pub fn start_reduce_scatter<T: Number, L: DerefMut<Target = [T]> + 'static>(
        &self,
        family: &'static str,
        lease: L,
        reduce: Reduce,
    ) -> Result<Pending<L>> {
        self.check_average::<T>(reduce)?;
        let n = lease.len() / self.size();
        self.check_length("reduce_scatter", "data", lease.len(), self.size() * n)?;
        let (lease, mut call) = Lease::new(lease, |data| {
            Call::in_place(Op::ReduceScatter(reduce), family, data)
        });
        call.keep_output(self.rank() * n..(self.rank() + 1) * n);
        self.start(call, lease)
    }

    /// Sends `counts[0][i]` elements of `data` to place `i`, in order, and receives
    /// `counts[1][i]` from it into `out`.
    ///
    /// # Errors
    /// As for [`Group::all_reduce`]; or the counts are not one for each place, do not
    /// add up to the lengths, or are not what the other end says.
    #[track_caller]
    pub fn all_to_all<T: Number>(
        &self,
        family: &'static str,
        data: &[T],
        out: &mut [T],
        counts: [&[usize]; 2],
    ) -> Result<()> {
        self.check_counts(data.len(), out.len(), counts)?;
        let mut call = Call::new(Op::AllToAll, family, data, out);
        call.counts = counts.map(<[usize]>::to_vec);
        self.collective(call)
    }
    /// As [`Group::all_to_all`], started now; of the leases, the first is `data` and
    /// the second `out`.
    ///
    /// # Errors
    /// As for [`Group::all_to_all`].
    #[track_caller]
    pub fn start_all_to_all<T: Number, L, M>(
        &self,
        family: &'static str,
        leases: (L, M),
        counts: [&[usize]; 2],
    ) -> Result<Pending<(L, M)>>
    where
        L: DerefMut<Target = [T]> + 'static,
        M: DerefMut<Target = [T]> + 'static,
    {
        self.check_counts(leases.0.len(), leases.1.len(), counts)?;
        let (leases, mut call) =
            Lease::pair(leases, |data, out| Call::new(Op::AllToAll, family, data, out));
        call.counts = counts.map(<[usize]>::to_vec);
        self.start(call, leases)
    }
    #[track_caller]
    fn check_counts(
        &self,
        data: usize,
        out: usize,
        counts: [&[usize]; 2],
    ) -> Result<()> {
        for (counts, what, len) in [(counts[0], "data", data), (counts[1], "out", out)]
        {
            let op = "all_to_all";
            self.check_length(op, "counts", counts.len(), self.size())?;
            let all = counts.iter().try_fold(0usize, |sum, n| sum.checked_add(*n));
            self.check_length(op, what, len, all.unwrap_or(usize::MAX))?;
        }
        let [own, back] = counts.map(|counts| counts[self.rank()]);
        self.check_length("all_to_all", "what stays here", back, own)
    }

    /// Everyone's `data` becomes that of place `root`.
    ///
    /// # Errors
    /// As for [`Group::all_reduce`]; or there is no such place.
    #[track_caller]
    pub fn broadcast<T: Number>(
        &self,
        family: &'static str,
        data: &mut [T],
        root: usize,
    ) -> Result<()> {
        self.check_place("broadcast", root)?;
        self.collective(Call::in_place(Op::Broadcast { root }, family, data))
    }
    /// As [`Group::broadcast`], started now.
    ///
    /// # Errors
    /// As for [`Group::start_all_reduce`]; or there is no such place.
    #[track_caller]
    pub fn start_broadcast<T: Number, L: DerefMut<Target = [T]> + 'static>(
        &self,
        family: &'static str,
        lease: L,
        root: usize,
    ) -> Result<Pending<L>> {
        self.check_place("broadcast", root)?;
        let (lease, call) = Lease::new(lease, |data| {
            Call::in_place(Op::Broadcast { root }, family, data)
        });
        self.start(call, lease)
    }
    /// Returns when all members have called it.
    ///
    /// # Errors
    /// As for [`Group::all_reduce`].
    #[track_caller]
    pub fn barrier(&self, family: &'static str) -> Result<()> {
        self.collective(Call::in_place::<u8>(Op::Barrier, family, &mut []))
    }
    /// As [`Group::barrier`], started now: waiting for it is waiting until all members
    /// have come this far.
    ///
    /// # Errors
    /// As for [`Group::start_all_reduce`].
    #[track_caller]
    pub fn start_barrier(&self, family: &'static str) -> Result<Pending<()>> {
        let call = Call::in_place::<u8>(Op::Barrier, family, &mut []);
        self.start(call, Lease::none())
    }
}
