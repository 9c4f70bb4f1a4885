//! Which parts of the model are segments, and what is kept of each.
use crate::config::{Config, Granularity, Method, Module};
use crate::segment::Keep;
use anyhow::{Result, ensure};

/// What is kept for backward. After Megatron-LM's `--recompute-granularity`,
/// `--recompute-modules`, `--recompute-method` and `--recompute-num-layers`: of the
/// modules, `norm` is its `layernorm`, `attention` is more than its `core_attn`, and
/// `swiglu` is what `moe_act` is to experts.
#[derive(Clone, Debug)]
pub struct Recompute {
    /// Of the norms in front of attention and MLP.
    pub norm: Keep,
    /// Of what happens between queries, keys and values as they were projected, and
    /// the output projection.
    pub attention: Keep,
    /// Of the gate.
    pub swiglu: Keep,
    /// Of the layers, segment by segment: how many a segment has, and what is kept of
    /// it.
    pub segments: Vec<(usize, Keep)>,
}

impl Recompute {
    /// As the flags say, for a model of so many layers.
    ///
    /// # Errors
    /// `--recompute-layers` is 0, or more than the model has.
    pub fn new(config: &Config, layers: usize) -> Result<Recompute> {
        let selective = config.recompute == Granularity::Selective;
        let modules = match &config.recompute_modules[..] {
            [] => &[Module::Norm, Module::Swiglu],
            modules => modules,
        };
        let keep = |module| match selective && modules.contains(&module) {
            true => Keep::Input,
            false => Keep::All,
        };
        let n = config.recompute_layers.unwrap_or(1);
        ensure!(
            (1..=layers).contains(&n),
            "--recompute-layers is {n}, and the model has {layers} layers: expected 1 \
             to {layers}"
        );
        let full = config.recompute == Granularity::Full;
        let segments = match config.recompute_method.unwrap_or(Method::Uniform) {
            _ if !full => vec![(1, Keep::All); layers],
            // The last segment is shorter where they do not divide.
            Method::Uniform => (0..layers)
                .step_by(n)
                .map(|start| (n.min(layers - start), Keep::Ends))
                .collect(),
            Method::Block => (0..layers)
                .map(|layer| (1, if layer < n { Keep::Ends } else { Keep::All }))
                .collect(),
        };
        Ok(Recompute {
            norm: keep(Module::Norm),
            attention: keep(Module::Attention),
            swiglu: keep(Module::Swiglu),
            segments,
        })
    }
}
