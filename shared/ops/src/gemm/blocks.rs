//! How a product is cut into blocks and handed to threads.
//!
//! ```text
//! for each block of columns of C                (so that the panels below fit)
//!     for each block of k                       (so that a strip of A stays near)
//!         pack the block of B into panels       all threads, then
//!         for each strip of rows of C           all threads
//!             C[strip, columns] += A[strip, k] · panels
//! ```
//!
//! The blocks of k depend on k alone, so that a sum is rounded in the same places
//! whoever computes it (see [`super::kernel`]).

use super::kernel::{Strip, Sums};
use super::pack::{Lines, Packs, Panels, Round, Source};
use super::scratch::{Scratch, Use};
use super::simd::Isa;
use crate::threads;
use candle_core::DType;

/// Longest block of k.
const K_BLOCK: usize = 384;
/// Bytes of packed panels: they share a second-level cache of 2 MiB with strips and C.
const PANEL_BYTES: usize = 1 << 20;
/// Sums of a 16-bit C that are kept at a time.
const KEPT_SUMS: usize = 1 << 20;

/// Panels, or strips, that are packed together.
const TOGETHER: usize = 8;

/// What may be chosen without changing the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    pub isa: Isa,
    /// Copy strips of A although kernels could read them where they are.
    pub pack_a: bool,
    /// Copy panels of B although kernels could read them where they are.
    pub pack_b: bool,
    /// What threads share out between them.
    pub share: Share,
}

/// What threads share out between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Share {
    /// Rows of C: together they pack a block of B, then each takes strips.
    Rows,
    /// Columns of C: each packs its own part of B, and none waits for another.
    Columns,
}

/// The sizes of `c[m, n] = a[m, k] · b[k, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

/// Where the product goes.
#[derive(Clone, Copy)]
pub struct Target {
    pub at: *mut u8,
    pub kind: DType,
    /// Elements from a row to the next; at least `n`.
    pub row: usize,
    /// Whether the product is added to what is there.
    pub add: bool,
}

// SAFETY: threads write disjoint rows, see `Block::strips`.
unsafe impl Sync for Target {}

impl Target {
    /// From row `i` and column `j` on.
    pub fn from(self, i: usize, j: usize) -> Target {
        let offset = (i * self.row + j) * self.kind.size_in_bytes();
        Target { at: self.at.wrapping_add(offset), ..self }
    }
}

/// Equal blocks of at most `most`, rounded up to a multiple of `unit`.
fn block(n: usize, most: usize, unit: usize) -> usize {
    n.div_ceil(n.div_ceil(most).max(1)).next_multiple_of(unit)
}

/// Where part `i` of `n` things begins, in `parts` nearly equal parts.
fn part(n: usize, parts: usize, i: usize) -> usize {
    n * i / parts
}

/// As [`product`], with the threads of the rank as the plan says if `parallel`.
///
/// # Safety
/// As for [`product`].
pub unsafe fn shared<S: Sums + Packs>(
    plan: Plan,
    size: Size,
    c: Target,
    a: Source,
    b: Source,
    parallel: bool,
) {
    if !parallel || plan.share == Share::Rows {
        // SAFETY: by the caller's promise.
        return unsafe { product::<S>(plan, size, c, a, b, parallel) };
    }
    let panel = 2 * plan.isa.lanes::<S>();
    let panels = size.n.div_ceil(panel);
    let parts = panels.min(threads::count());
    threads::run(parts, |i| {
        let from = panel * part(panels, parts, i);
        let n = (panel * part(panels, parts, i + 1)).min(size.n) - from;
        let (b, c) = (b.from(0, from), c.from(0, from));
        // SAFETY: some columns of what the caller promised, these for this task alone.
        unsafe { product::<S>(plan, Size { n, ..size }, c, a, b, false) };
    });
}

/// `c = a · b` or `c += a · b`, with sums in `S`; on this thread alone, or on all of
/// the rank's.
///
/// # Safety
/// The CPU has `plan.isa`; `m, n, k >= 1`; A and B can be read at all of `size` and
/// their types sum in `S`; C can be written by the caller alone.
pub unsafe fn product<S: Sums + Packs>(
    plan: Plan,
    size: Size,
    c: Target,
    a: Source,
    b: Source,
    parallel: bool,
) {
    let Size { m, n, k } = size;
    let panel = 2 * plan.isa.lanes::<S>();
    let k_block = block(k, K_BLOCK, 8).min(k);
    let most = PANEL_BYTES / size_of::<S>() / k_block / panel * panel;
    let n_block = block(n, most.max(panel), panel).min(n);
    let wide = c.kind == S::DTYPE;
    let m_block = if wide || k == k_block { m } else { (KEPT_SUMS / n_block).min(m) };
    let mut panels =
        Scratch::new::<S>(Use::Panels, n_block.next_multiple_of(panel) * k_block);
    let mut sums = (m_block < m || !wide && k > k_block)
        .then(|| Scratch::new::<S>(Use::Sums, m_block * n_block));
    for i in (0..m).step_by(m_block) {
        for j in (0..n).step_by(n_block) {
            let block = Block {
                plan,
                m: m_block.min(m - i),
                n: n_block.min(n - j),
                panels: panels.start::<S>(),
                sums: sums.as_mut().map(|s| s.start::<S>()),
                c: c.from(i, j),
                workers: if parallel { threads::count() } else { 1 },
            };
            for k0 in (0..k).step_by(k_block) {
                let depth = Depth {
                    k: k_block.min(k - k0),
                    first: k0 == 0,
                    last: k0 + k_block >= k,
                    a: a.from(i, k0),
                    b: b.from(k0, j),
                };
                // SAFETY: a block of what the caller promised; the scratch holds its
                // panels and sums.
                unsafe {
                    block.pack_panels(depth);
                    block.strips(depth);
                }
            }
        }
    }
}

/// A block of C.
struct Block<S> {
    plan: Plan,
    m: usize,
    n: usize,
    panels: *mut S,
    /// Where sums of a 16-bit C wait for the next block of k.
    sums: Option<*mut S>,
    c: Target,
    workers: usize,
}

// SAFETY: its pointers are used as argued in `pack_panels` and `strips`.
unsafe impl<S> Sync for Block<S> {}

/// A block of k.
#[derive(Clone, Copy)]
struct Depth {
    k: usize,
    first: bool,
    last: bool,
    a: Source,
    b: Source,
}

impl<S: Sums + Packs> Block<S> {
    fn run(&self, tasks: usize, task: impl Fn(usize) + Sync) {
        match self.workers {
            1 => (0..tasks).for_each(task),
            _ => threads::run(tasks, task),
        }
    }

    /// Columns of a panel.
    fn panel(&self) -> usize {
        2 * self.plan.isa.lanes::<S>()
    }

    /// The panels of B that kernels read where they are: all whole ones, or none.
    fn unpacked(&self, depth: &Depth) -> usize {
        let there = depth.b.kind == S::DTYPE && depth.b.col == 1 && !self.plan.pack_b;
        if there { self.n / self.panel() } else { 0 }
    }

    /// Copies B into panels.
    ///
    /// # Safety
    /// As for [`product`].
    unsafe fn pack_panels(&self, depth: Depth) {
        let panel = self.panel();
        let panels = self.n.div_ceil(panel);
        let unpacked = self.unpacked(&depth);
        let todo = panels - unpacked;
        let groups = if self.workers == 1 { 1 } else { todo.min(4 * self.workers) };
        self.run(groups, |g| {
            let first = unpacked + part(todo, groups, g);
            let end = unpacked + part(todo, groups, g + 1);
            for p in (first..end).step_by(TOGETHER) {
                let starts: [_; TOGETHER] = std::array::from_fn(|q| (p + q) * panel);
                let starts = &starts[..TOGETHER.min(end - p)];
                let to = self.panels.wrapping_add(p * panel * depth.k);
                // SAFETY: inside B; the panels are this task's alone.
                unsafe { self.pack(depth.b, depth.k, self.n, starts, panel, to) };
            }
        });
    }

    /// Copies panels of `line` columns from each of `starts` on, one after the other.
    ///
    /// # Safety
    /// `rows` by `cols` of `from` can be read, the panels be written.
    unsafe fn pack(
        &self,
        from: Source,
        rows: usize,
        cols: usize,
        starts: &[usize],
        line: usize,
        to: *mut S,
    ) {
        let isa = self.plan.isa;
        let panel = rows * line;
        // SAFETY: by the caller's promise.
        unsafe {
            if from.col == 1 {
                S::panels(Panels { from, rows, cols, starts, to, panel, line }, isa);
                return;
            }
            for (q, start) in starts.iter().enumerate() {
                let (from, cols) = (from.from(0, *start), line.min(cols - start));
                let to = to.add(q * panel);
                S::lines(Lines { from, rows, cols, to, line }, isa);
            }
        }
    }

    /// Multiplies.
    ///
    /// # Safety
    /// As for [`product`]; the panels are packed.
    unsafe fn strips(&self, depth: Depth) {
        let isa = self.plan.isa;
        let strips = self.m.div_ceil(isa.rows());
        let groups = if self.workers == 1 { 1 } else { strips.min(4 * self.workers) };
        self.run(groups, |g| {
            let room = STRIP_ROWS * strip_line(depth.k);
            let mut packed = Scratch::new::<S>(Use::Strips, TOGETHER * room);
            let packed = packed.start::<S>();
            let end = part(strips, groups, g + 1);
            for s in (part(strips, groups, g)..end).step_by(TOGETHER) {
                let starts: [_; TOGETHER + 1] =
                    std::array::from_fn(|q| part(self.m, strips, (s + q).min(strips)));
                let count = TOGETHER.min(end - s);
                let a = depth.a;
                let there = a.start::<S>().is_some() && !self.plan.pack_a;
                // SAFETY: inside A; the rows of C are this task's alone.
                unsafe {
                    if a.row == 1 && !there {
                        let (starts, line) = (&starts[..count], STRIP_ROWS);
                        self.pack(a.t(), depth.k, self.m, starts, line, packed);
                    }
                    for q in 0..count {
                        let (from, to) = (starts[q], starts[q + 1]);
                        let packed = packed.add(q * STRIP_ROWS * depth.k);
                        self.strip(depth, from, to - from, packed);
                    }
                }
            }
        });
    }

    /// Multiplies one strip of `rows` rows from row `i` on. `packed` holds a copy of
    /// A's columns or has room for one of its rows.
    unsafe fn strip(&self, depth: Depth, i: usize, rows: usize, packed: *mut S) {
        let Plan { isa, pack_a, .. } = self.plan;
        let panel = self.panel();
        // SAFETY: rows of A, panels and rows of C as `product` promises.
        unsafe {
            let a = depth.a.from(i, 0);
            let (a, a_row, a_col) = match a.start::<S>() {
                Some(start) if !pack_a && (a.row == 1 || a.col == 1) => {
                    (start, a.row, a.col)
                }
                _ if a.row == 1 => (packed.cast_const(), 1, STRIP_ROWS),
                _ => {
                    let (cols, line) = (depth.k, strip_line(depth.k));
                    S::lines(Lines { from: a, rows, cols, to: packed, line }, isa);
                    (packed.cast_const(), line, 1)
                }
            };
            let unpacked = self.unpacked(&depth);
            let (b, b_panel, b_row) = match depth.b.start::<S>() {
                Some(start) if unpacked > 0 => (start, panel, depth.b.row),
                _ => (self.panels.cast_const(), panel * depth.k, panel),
            };
            let last = self.n / panel * panel * depth.k;
            let wide = self.c.kind == S::DTYPE;
            let c = self.c.from(i, 0);
            let mut local = (!wide && self.sums.is_none())
                .then(|| Scratch::new::<S>(Use::Round, rows * self.n));
            let (at, c_row, add) = match (&mut local, self.sums) {
                (Some(local), _) => (local.start::<S>(), self.n, false),
                (None, Some(sums)) => (sums.add(i * self.n), self.n, !depth.first),
                (None, None) => (c.at.cast::<S>(), c.row, c.add || !depth.first),
            };
            let strip = Strip {
                k: depth.k,
                a,
                a_row,
                a_col,
                b,
                b_panel,
                b_row,
                b_last: self.panels.add(last),
                b_last_row: panel,
                n: self.n,
                c: at,
                c_row,
                add,
            };
            S::compute(strip, isa, rows);
            if !wide && depth.last {
                let round = Round {
                    sums: std::ptr::null(),
                    sums_row: c_row,
                    to: c.at.cast(),
                    to_row: c.row,
                    kind: c.kind,
                    rows,
                    cols: self.n,
                    add: c.add,
                };
                S::round(at, round, isa);
            }
        }
    }
}

/// Room for the columns of a strip: whole vectors of every kind.
const STRIP_ROWS: usize = 16;

/// From one row of a packed strip to the next: no power of two, for which rows would
/// evict each other from the cache.
fn strip_line(k: usize) -> usize {
    k.next_multiple_of(16) + 16
}
