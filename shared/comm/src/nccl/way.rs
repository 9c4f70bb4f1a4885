//! What a lane makes calls with, and how the processor's memory gets there.
use super::communicator::{Communicator, Place};
use super::seat::Seat;
use crate::gpu::{Outcome, Stream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long kernels may take to end that were told to.
const GRACE: Duration = Duration::from_secs(5);

/// Made at a lane's first call: all members make that one, and so all come.
pub(super) struct Way {
    pub communicator: Communicator,
    pub stream: Arc<dyn Stream>,
    /// The buffer for the processor's memory: where, and how many bytes.
    buffer: (usize, usize),
}

impl Way {
    pub fn new(communicator: Communicator, stream: Arc<dyn Stream>) -> Way {
        Way { communicator, stream, buffer: (0, 0) }
    }
    /// Gives a call to NCCL.
    ///
    /// # Errors
    /// NCCL's, or the GPU's.
    pub fn start(&mut self, seat: &Seat) -> Outcome<()> {
        let call = &seat.call;
        let mut at = Place {
            input: call.input.1.cast(),
            output: call.output.1.cast(),
            stream: self.stream.raw(),
        };
        if seat.is_of_host() {
            let staged = Staged::of(seat);
            self.reserve(staged.bytes)?;
            let start = self.buffer.0;
            if let Some(input) = staged.input {
                // SAFETY: the call's memory is lent to it; the buffer is large enough.
                unsafe {
                    let len = seat.input_bytes();
                    let bytes = std::slice::from_raw_parts(call.input.1, len);
                    self.stream.write(start + input, bytes)?;
                }
                at.input = std::ptr::without_provenance(start + input);
            }
            if let Some(output) = staged.output {
                at.output = std::ptr::without_provenance_mut(start + output);
            }
        }
        if let Some(ready) = &seat.ready {
            self.stream.follow(&**ready)?;
        }
        // SAFETY: memory is lent until the seat says that the call is over, or until
        // kernels that are started later use it, which follow its end.
        unsafe { self.communicator.start(call, &at) }
    }
    /// The result of a call, which is over, goes to the processor's memory.
    ///
    /// # Errors
    /// The GPU's.
    pub fn finish(&self, seat: &Seat) -> Outcome<()> {
        let (Some(output), false) = (Staged::of(seat).output, seat.is_barrier()) else {
            return Ok(());
        };
        // SAFETY: as in `start`; it is not over for the rank, and nobody reads.
        unsafe {
            let len = seat.output_bytes();
            let bytes = std::slice::from_raw_parts_mut(seat.call.output.1, len);
            self.stream.read(self.buffer.0 + output, bytes)
        }
    }
    /// Makes the buffer as large as that.
    fn reserve(&mut self, bytes: usize) -> Outcome<()> {
        if bytes > self.buffer.1 {
            let bytes = bytes.next_power_of_two().max(1 << 16);
            free(&*self.stream, self.buffer);
            self.buffer = (0, 0);
            self.buffer = (self.stream.alloc(bytes)?, bytes);
        }
        Ok(())
    }
    /// Ends it, when the end that was begun has settled.
    pub fn destroy(self) {
        free(&*self.stream, self.buffer);
        self.communicator.destroy();
    }
    /// Ends it now: kernels that wait for other ranks stop.
    pub fn abort(self) {
        let Way { communicator, stream, buffer } = self;
        drop(communicator);
        // Where ranks are threads, NCCL has only told its kernels to end.
        let until = Instant::now() + GRACE;
        while let Ok(end) = stream.mark()
            && matches!(end.is_over(), Ok(false))
            && Instant::now() < until
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        free(&*stream, buffer);
    }
}

/// Neither is used again.
fn free(stream: &dyn Stream, (start, bytes): (usize, usize)) {
    if bytes > 0 {
        // SAFETY: it is the stream's, and the caller's word.
        unsafe { stream.free(start) }
    }
}

/// Where in the buffer a call's memory of the processor's has its place.
struct Staged {
    input: Option<usize>,
    output: Option<usize>,
    bytes: usize,
}

impl Staged {
    fn of(seat: &Seat) -> Staged {
        if seat.is_barrier() {
            return Staged { input: Some(0), output: Some(0), bytes: 1 };
        }
        let [from, to] = seat.of_host;
        // Apart, even of a call in place: what is staged is a copy.
        let first = if from { seat.input_bytes().next_multiple_of(256) } else { 0 };
        let bytes = first + if to { seat.output_bytes() } else { 0 };
        Staged { input: from.then_some(0), output: to.then_some(first), bytes }
    }
}
