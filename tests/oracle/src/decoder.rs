//! The decoder, written plainly with torch's operations; autograd derives the rest.
use crate::{Tensors, wide};
use anyhow::{Context, Result, ensure};
use corpus::{Batch, IGNORE};
use hub::{ModelConfig, Scaling};
use tch::{Device, Kind, Reduction, Tensor};

/// A decoder of the Llama and Qwen families.
pub struct Decoder {
    model: ModelConfig,
    /// The token after which another document begins, if documents are kept apart.
    end_of_document: Option<i64>,
    kind: Kind,
    weights: Tensors,
}

impl Decoder {
    /// With these weights, rounded to `kind`.
    ///
    /// # Errors
    /// The model scales its rotary frequencies, which the oracle does not.
    pub fn new(
        model: &ModelConfig,
        end_of_document: Option<u32>,
        kind: Kind,
        weights: &Tensors,
    ) -> Result<Decoder> {
        ensure!(
            model.rope.scaling == Scaling::None,
            "the oracle knows plain RoPE only"
        );
        let leaf =
            |(name, tensor): (String, Tensor)| (name, tensor.set_requires_grad(true));
        let weights = crate::to_kind(weights, kind).into_iter().map(leaf).collect();
        let end_of_document = end_of_document.map(i64::from);
        Ok(Decoder { model: model.clone(), end_of_document, kind, weights })
    }
    fn weight(&self, name: &str) -> &Tensor {
        let weight = self.weights.get(name);
        weight.unwrap_or_else(|| panic!("the weights lack `{name}`"))
    }
    /// The mean loss in nats over all targets of `batches`, and its gradients.
    ///
    /// Each batch is a pass of its own. Autograd leaves gradients in the type of the
    /// weights; they are added up in [`wide`].
    ///
    /// # Errors
    /// A weight is not used.
    pub fn gradients(&mut self, batches: &[Batch]) -> Result<(f64, Tensors)> {
        let counts =
            |batch: &Batch| batch.targets.iter().filter(|t| **t != IGNORE).count();
        let targets: usize = batches.iter().map(counts).sum();
        let (mut mean, mut gradients) = (0.0, Tensors::new());
        for batch in batches {
            let loss = self.summed_loss(batch) / targets as f64;
            loss.backward();
            mean += loss.double_value(&[]);
            for (name, weight) in &mut self.weights {
                let gradient = weight.grad();
                ensure!(gradient.defined(), "torch found no gradient of `{name}`");
                let gradient = gradient.to_dtype(wide(self.kind), false, true);
                match gradients.get_mut(name) {
                    Some(sum) => *sum += gradient,
                    None => drop(gradients.insert(name.clone(), gradient)),
                }
                weight.zero_grad();
            }
        }
        Ok((mean, gradients))
    }
    /// The sum over the batch's targets of the negative log-likelihood, in nats.
    fn summed_loss(&self, batch: &Batch) -> Tensor {
        let shape = [batch.rows as i64, batch.seq_len as i64];
        let integers = |tokens: &[u32]| {
            let id =
                |&token: &u32| if token == IGNORE { -100 } else { i64::from(token) };
            Tensor::from_slice(&tokens.iter().map(id).collect::<Vec<i64>>())
        };
        let tokens = integers(&batch.tokens).view(shape);
        let logits = self.logits(&tokens).to_kind(wide(self.kind)).flatten(0, 1);
        let targets = integers(&batch.targets);
        let (none, sum) = (None::<Tensor>, Reduction::Sum);
        logits.cross_entropy_loss(&targets, none, sum, -100, 0.0)
    }
    /// `tokens [batch, seq]` to `[batch, seq, vocab]`.
    fn logits(&self, tokens: &Tensor) -> Tensor {
        let embedding = self.weight("model.embed_tokens.weight");
        let mask = self.mask(tokens);
        let mut x = Tensor::embedding(embedding, tokens, -1, false, false);
        for layer in 0..self.model.num_hidden_layers {
            let layer = format!("model.layers.{layer}");
            let y = self.rms_norm(&x, &format!("{layer}.input_layernorm"));
            let between = &x + self.attention(&y, &mask, &format!("{layer}.self_attn"));
            let post = format!("{layer}.post_attention_layernorm");
            let y = self.rms_norm(&between, &post);
            // In place, it would change what autograd has kept.
            x = &between + self.mlp(&y, &format!("{layer}.mlp"));
        }
        let x = self.rms_norm(&x, "model.norm");
        let tied = self.model.tie_word_embeddings;
        let head = if tied { embedding } else { self.weight("lm_head.weight") };
        x.matmul(&head.transpose(0, 1))
    }
    /// Who may attend to whom, `[batch, 1, seq, seq]`: to oneself and what came before,
    /// in one's own document. A document's last token is the one that ends it.
    fn mask(&self, tokens: &Tensor) -> Tensor {
        let seq = tokens.size()[1];
        let causal = Tensor::ones([seq, seq], (Kind::Bool, Device::Cpu)).tril(0);
        let Some(end) = self.end_of_document else {
            return causal.view([1, 1, seq, seq]);
        };
        let ends = tokens.eq(end).to_kind(Kind::Int64);
        // The number of documents that ended before a token.
        let document = ends.cumsum(1, Kind::Int64) - ends;
        let same = document.unsqueeze(2).eq_tensor(&document.unsqueeze(1));
        same.logical_and(&causal).unsqueeze(1)
    }
    /// Over the last dimension, in [`wide`], rounded before the weight is applied, as
    /// transformers has it (Zhang and Sennrich 2019).
    fn rms_norm(&self, x: &Tensor, name: &str) -> Tensor {
        let wide = x.to_kind(wide(self.kind));
        let mean = wide.square().mean_dim(-1, true, None);
        let normal = wide / (mean + self.model.rms_norm_eps).sqrt();
        normal.to_kind(self.kind) * self.weight(&format!("{name}.weight"))
    }
    fn linear(&self, x: &Tensor, name: &str, bias: bool) -> Tensor {
        let bias = bias.then(|| self.weight(&format!("{name}.bias")));
        x.linear(self.weight(&format!("{name}.weight")), bias)
    }
    /// `x [batch, seq, hidden]` to the same shape.
    fn attention(&self, x: &Tensor, mask: &Tensor, name: &str) -> Tensor {
        let model = &self.model;
        let (batch, seq) = (x.size()[0], x.size()[1]);
        let dim = model.head_dim as i64;
        // [batch, heads, seq, dim]
        let heads = |which: &str| {
            let x = self.linear(x, &format!("{name}.{which}_proj"), model.qkv_bias);
            let x = x.view([batch, seq, -1, dim]);
            let normed = model.qk_norm && which != "v";
            let x = match normed {
                true => self.rms_norm(&x, &format!("{name}.{which}_norm")),
                false => x,
            };
            x.transpose(1, 2)
        };
        let (q, k, v) = (self.turn(&heads("q")), self.turn(&heads("k")), heads("v"));
        // Neighbouring query heads share a key and a value head (Ainslie et al. 2023).
        let group = (model.num_attention_heads / model.num_key_value_heads) as i64;
        let k = k.repeat_interleave_self_int(group, 1, None);
        let v = v.repeat_interleave_self_int(group, 1, None);
        // Scaled by 1/sqrt(dim): torch's default.
        let mixed = Tensor::scaled_dot_product_attention(
            &q,
            &k,
            &v,
            Some(mask),
            0.0,
            false,
            None,
            false,
        );
        let mixed = mixed.transpose(1, 2).reshape([batch, seq, -1]);
        self.linear(&mixed, &format!("{name}.o_proj"), model.o_bias)
    }
    /// Turns dimensions i and i + dim/2 of each head by position · θ^(-2i/dim) radians
    /// (Su et al. 2021). `x [batch, heads, seq, dim]`.
    fn turn(&self, x: &Tensor) -> Tensor {
        let (seq, dim) = (x.size()[2], x.size()[3]);
        let double = (Kind::Double, Device::Cpu);
        let exponents = Tensor::arange(dim / 2, double) * (-2.0 / dim as f64);
        let frequencies = (exponents * self.model.rope.theta.ln()).exp();
        let angles = Tensor::arange(seq, double).outer(&frequencies);
        let wide = wide(self.kind);
        let (cos, sin) = (angles.cos().to_kind(wide), angles.sin().to_kind(wide));
        let halves = x.to_kind(wide).chunk(2, -1);
        let (a, b) = (&halves[0], &halves[1]);
        let turned = [a * &cos - b * &sin, a * &sin + b * &cos];
        Tensor::cat(&turned, -1).to_kind(self.kind)
    }
    /// `x [batch, seq, hidden]` to the same shape (Shazeer 2020).
    fn mlp(&self, x: &Tensor, name: &str) -> Tensor {
        let linear = |x: &Tensor, which: &str| {
            self.linear(x, &format!("{name}.{which}_proj"), self.model.mlp_bias)
        };
        let gated = linear(x, "gate").silu() * linear(x, "up");
        linear(&gated, "down")
    }
}

/// `decoder`'s gradients at `weights`, as [`Decoder::gradients`].
///
/// # Errors
/// As there.
pub fn gradients_at(
    case: &crate::cases::Case,
    kind: Kind,
    weights: &Tensors,
    batches: &[Batch],
) -> Result<(f64, Tensors)> {
    let mut decoder = Decoder::new(&case.model, case.end_of_document, kind, weights)?;
    decoder.gradients(batches).with_context(|| case.name)
}
