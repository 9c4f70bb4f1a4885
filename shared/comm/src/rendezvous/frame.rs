//! What is on the wire: frames. One is its length (4 bytes, of what follows), its kind
//! (1 byte), a rank (4 bytes) and what it carries, numbers in little-endian order.
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// Nothing that is said here is longer; of a stranger, it would be memory.
pub(super) const LONGEST: usize = 64 << 20;

/// To all ranks, in the place of one.
pub(super) const ALL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// To the hub: who I am.
    Hello = 1,
    /// All are here.
    Welcome,
    /// Not here: why.
    Refused,
    /// Not yet: an earlier launch still meets here.
    Later,
    Letter,
    Died,
    Goodbye,
    Farewell,
}

impl Kind {
    const ALL: [Kind; 8] = [
        Kind::Hello,
        Kind::Welcome,
        Kind::Refused,
        Kind::Later,
        Kind::Letter,
        Kind::Died,
        Kind::Goodbye,
        Kind::Farewell,
    ];
}

pub(super) struct Frame {
    pub kind: Kind,
    /// Who sent it or, of a letter to the hub, to whom it goes.
    pub rank: u32,
    pub bytes: Vec<u8>,
}

impl Frame {
    pub fn new(kind: Kind, rank: u32, bytes: impl Into<Vec<u8>>) -> Frame {
        Frame { kind, rank, bytes: bytes.into() }
    }
    pub fn write(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let mut all = Vec::with_capacity(9 + self.bytes.len());
        all.extend((5 + self.bytes.len() as u32).to_le_bytes());
        all.push(self.kind as u8);
        all.extend(self.rank.to_le_bytes());
        all.extend(&self.bytes);
        stream.write_all(&all)
    }
    pub fn read(mut stream: &TcpStream, longest: usize) -> std::io::Result<Frame> {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let number = |at: usize| {
            u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
        };
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == head[4]);
        let len = (number(0) as usize).checked_sub(5).filter(|len| *len <= longest);
        let (Some(kind), Some(len)) = (kind, len) else {
            return Err(ErrorKind::InvalidData.into());
        };
        let mut bytes = vec![0; len];
        stream.read_exact(&mut bytes)?;
        Ok(Frame { kind, rank: number(5), bytes })
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}
