//! What two members of a group send each other.
use crate::call::{Call, Op};
use crate::error::Result;
use crate::group::Group;
use crate::number::Number;
use crate::pending::{Lease, Pending};
use std::ops::DerefMut;

impl Group {
    /// Sends `data` to place `to`; returns when it has been received.
    ///
    /// # Errors
    /// The receiver expects something else, failed, or will never receive it; or it is
    /// this rank, or none.
    #[track_caller]
    pub fn send<T: Number>(
        &self,
        family: &'static str,
        data: &[T],
        to: usize,
    ) -> Result<()> {
        self.check_other("send", to)?;
        self.message(Call::new(Op::Send(to), family, data, &mut []), to)
    }
    /// `data` becomes what place `from` sends.
    ///
    /// # Errors
    /// As for [`Group::send`].
    #[track_caller]
    pub fn recv<T: Number>(
        &self,
        family: &'static str,
        data: &mut [T],
        from: usize,
    ) -> Result<()> {
        self.check_other("recv", from)?;
        self.message(Call::new(Op::Recv(from), family, &[], data), from)
    }
    /// Sends to one place and receives from one, which may be another, at the same
    /// time: in a ring, where everyone sends first, nobody would ever receive.
    ///
    /// # Errors
    /// As for [`Group::send`].
    #[track_caller]
    pub fn exchange<T: Number>(
        &self,
        family: &'static str,
        data: &[T],
        to: usize,
        out: &mut [T],
        from: usize,
    ) -> Result<()> {
        self.check_other("exchange", to)?;
        self.check_other("exchange", from)?;
        let send = Call::new(Op::Send(to), family, data, &mut []);
        let recv = Call::new(Op::Recv(from), family, &[], out);
        let stopwatch = self.book(&send);
        // Its time is that of the sending.
        drop(self.book(&recv));
        let sent = self.post_message(send, to)?;
        // Posted, and so not to be left behind: from here on both are waited for.
        let received = self.post_message(recv, from);
        let sent = sent.wait();
        received?.wait()?;
        sent?;
        stopwatch.stop();
        Ok(())
    }
    /// As [`Group::send`], started now.
    ///
    /// # Errors
    /// As for [`Group::send`].
    #[track_caller]
    pub fn start_send<T: Number, L: DerefMut<Target = [T]> + 'static>(
        &self,
        family: &'static str,
        lease: L,
        to: usize,
    ) -> Result<Pending<L>> {
        self.check_other("send", to)?;
        let (lease, call) =
            Lease::new(lease, |data| Call::new(Op::Send(to), family, data, &mut []));
        self.start_message(call, to, lease)
    }
    /// As [`Group::recv`], started now.
    ///
    /// # Errors
    /// As for [`Group::send`].
    #[track_caller]
    pub fn start_recv<T: Number, L: DerefMut<Target = [T]> + 'static>(
        &self,
        family: &'static str,
        lease: L,
        from: usize,
    ) -> Result<Pending<L>> {
        self.check_other("recv", from)?;
        let (lease, call) =
            Lease::new(lease, |data| Call::new(Op::Recv(from), family, &[], data));
        self.start_message(call, from, lease)
    }
}
