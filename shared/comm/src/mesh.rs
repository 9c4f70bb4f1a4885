//! Groups by axis: which ranks share what.
use crate::error::{Error, Result};
use crate::group::Group;
use std::collections::HashMap;

/// Sizes of the axes along which ranks are laid out.
///
/// One world has two factorizations, `tp · cp · dp · pp` for what every token passes
/// and `etp · ep · edp · pp` for experts (Megatron-LM's `parallel_state.py`, *parallel
/// folding*). `dp` and `edp` are what is left of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Tensor parallel.
    pub tp: usize,
    /// Context parallel.
    pub cp: usize,
    /// Pipeline parallel.
    pub pp: usize,
    /// Expert parallel.
    pub ep: usize,
    /// Tensor parallel within an expert.
    pub etp: usize,
    /// The axes, the one that varies fastest from rank to rank first; `tp` and `dp`
    /// stand for `etp` and `edp` among experts.
    pub order: String,
}

impl Default for Layout {
    /// One of each, in Megatron-LM's order.
    fn default() -> Layout {
        let order = "tp-cp-ep-dp-pp".to_string();
        Layout { tp: 1, cp: 1, pp: 1, ep: 1, etp: 1, order }
    }
}

/// The axes there are.
const AXES: [&str; 5] = ["tp", "cp", "ep", "dp", "pp"];

/// A factorization of the world: names and sizes, the fastest first.
type Axes = Vec<(&'static str, usize)>;

impl Layout {
    /// The two factorizations, of what every token passes and of experts.
    ///
    /// # Errors
    /// The sizes do not divide the world, the order is none, or it has the stages of
    /// the two in different ranks.
    fn axes(&self, world: usize) -> Result<[Axes; 2]> {
        let Layout { tp, cp, pp, ep, etp, order } = self;
        let names: Vec<&str> = order.split('-').collect();
        let known = names.iter().all(|name| AXES.contains(name));
        let once =
            AXES.iter().all(|axis| names.iter().filter(|n| *n == axis).count() == 1);
        if !known || !once {
            return Err(Error::new(format!(
                "order `{order}`: expected each of {} once, with - between",
                AXES.join(", ")
            )));
        }
        let rest = |sizes: [(&str, usize); 3]| {
            let product = sizes.iter().try_fold(1usize, |p, (_, n)| p.checked_mul(*n));
            let product = product.unwrap_or(0);
            if product > 0 && world > 0 && world.is_multiple_of(product) {
                return Ok(world / product);
            }
            let sizes: Vec<String> =
                sizes.iter().map(|(name, n)| format!("{name} {n}")).collect();
            Err(Error::new(format!(
                "{world} ranks do not divide by {} (= {product}): {} would",
                sizes.join(" · "),
                world.max(1).next_multiple_of(product.max(1))
            )))
        };
        let dp = rest([("tp", *tp), ("cp", *cp), ("pp", *pp)])?;
        let edp = rest([("etp", *etp), ("ep", *ep), ("pp", *pp)])?;
        let axes = |experts: bool| -> Axes {
            let axis = |name: &&str| match (*name, experts) {
                ("tp", false) => Some(("tp", *tp)),
                ("cp", false) => Some(("cp", *cp)),
                ("dp", false) => Some(("dp", dp)),
                ("tp", true) => Some(("etp", *etp)),
                ("ep", true) => Some(("ep", *ep)),
                ("dp", true) => Some(("edp", edp)),
                ("pp", _) => Some(("pp", *pp)),
                _ => None,
            };
            names.iter().filter_map(axis).collect()
        };
        let both = [axes(false), axes(true)];
        let [dense, experts] = both.each_ref().map(|axes| groups(axes, world, &["pp"]));
        if dense != experts {
            return Err(Error::new(format!(
                "order `{order}` puts the pipeline's stages of experts in other ranks \
                 than the rest of them: have pp last, or first"
            )));
        }
        Ok(both)
    }
}

/// All groups of ranks that differ along `along` only, in order.
fn groups(axes: &Axes, world: usize, along: &[&str]) -> Vec<Vec<usize>> {
    let mut found: Vec<(Vec<usize>, Vec<usize>)> = vec![];
    for rank in 0..world {
        let mut left = rank;
        let mut others = vec![];
        for (name, size) in axes {
            if !along.contains(name) {
                others.push(left % size);
            }
            left /= size;
        }
        match found.iter_mut().find(|(place, _)| *place == others) {
            Some((_, group)) => group.push(rank),
            None => found.push((others, vec![rank])),
        }
    }
    found.into_iter().map(|(_, group)| group).collect()
}

/// One rank's groups along the axes of a [`Layout`].
pub struct Mesh {
    world: Group,
    axes: [Axes; 2],
    groups: HashMap<String, Group>,
}

impl Mesh {
    /// Every rank of `world` makes one, of the same layout. Nothing is sent.
    ///
    /// # Errors
    /// The layout does not fit the number of ranks.
    pub fn new(world: Group, layout: &Layout) -> Result<Mesh> {
        let axes = layout.axes(world.size())?;
        let mut mesh = Mesh { world, axes, groups: HashMap::new() };
        for (name, along) in [
            ("tp", &["tp"][..]),
            ("cp", &["cp"]),
            ("dp", &["dp"]),
            ("pp", &["pp"]),
            ("ep", &["ep"]),
            ("etp", &["etp"]),
            ("edp", &["edp"]),
            ("data", &["cp", "dp"]),
            ("model", &["tp", "pp"]),
            ("tp-cp", &["tp", "cp"]),
            ("etp-ep", &["etp", "ep"]),
        ] {
            let group = mesh.make(name, along)?;
            mesh.groups.insert(name.to_string(), group);
        }
        Ok(mesh)
    }
    fn make(&self, name: &str, along: &[&str]) -> Result<Group> {
        let [dense, experts] = &self.axes;
        let is_dense =
            along.iter().all(|axis| dense.iter().any(|(name, _)| name == axis));
        let axes = if is_dense { dense } else { experts };
        let me = self.world.rank();
        let all = groups(axes, self.world.size(), along);
        let own = all.into_iter().find(|group| group.contains(&me));
        self.world.subgroup(name, &own.unwrap_or_else(|| vec![me]))
    }
    /// Divides the axis `name` into groups of `n` neighbours, of which this rank's is
    /// from here on the axis `part`. Every rank does so, with the same `n`.
    ///
    /// # Errors
    /// There is no such axis, there is one named `part`, or `n` does not divide its
    /// size.
    pub fn divide(&mut self, name: &str, n: usize, part: &str) -> Result<()> {
        let axis = self.axis(name)?;
        let (size, rank) = (axis.size(), axis.rank());
        if n == 0 || !size.is_multiple_of(n) || self.groups.contains_key(part) {
            return Err(Error::new(format!(
                "the {size} ranks of `{name}` in groups of {n}, as `{part}`: expected \
                 a divisor of {size}, and a name that is new"
            )));
        }
        let first = rank / n * n;
        let places: Vec<usize> = (first..first + n).collect();
        let group = axis.subgroup(part, &places)?;
        self.groups.insert(part.to_string(), group);
        Ok(())
    }
    /// The first and the last rank along the axis `name` are from here on the axis
    /// `ends`; each of the others is one by itself. Every rank calls this.
    ///
    /// # Errors
    /// There is no such axis, or there is one named `ends`.
    pub fn ends(&mut self, name: &str, ends: &str) -> Result<()> {
        let axis = self.axis(name)?;
        if self.groups.contains_key(ends) {
            return Err(Error::new(format!(
                "the ends of `{name}` as `{ends}`: expected a name that is new"
            )));
        }
        let last = axis.size() - 1;
        let places = match axis.rank() {
            rank if rank == 0 || rank == last => vec![0, last],
            rank => vec![rank],
        };
        let places = if last == 0 { vec![0] } else { places };
        let group = axis.subgroup(ends, &places)?;
        self.groups.insert(ends.to_string(), group);
        Ok(())
    }
    /// All ranks.
    pub fn world(&self) -> &Group {
        &self.world
    }
    /// The ranks that differ from this one along that axis only: `tp`, `cp`, `dp`,
    /// `pp`; of experts `etp`, `ep`, `edp`; along several `tp-cp`, `etp-ep`, `data` and
    /// `model`; and what [`Mesh::divide`] made.
    ///
    /// # Errors
    /// There is no such axis.
    pub fn axis(&self, name: &str) -> Result<&Group> {
        let missing = || Error::new(format!("no axis `{name}` in the mesh"));
        self.groups.get(name).ok_or_else(missing)
    }
    /// The ranks that hold the same parameters and see other tokens: over these
    /// gradients are summed.
    pub fn data(&self) -> &Group {
        &self.groups["data"]
    }
    /// The ranks that together hold the model once.
    pub fn model(&self) -> &Group {
        &self.groups["model"]
    }
}
