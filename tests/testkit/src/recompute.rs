//! What recomputation keeps for backward, and what it computes again: closed forms, and
//! what chapter 3 really keeps and computes.
use crate::account::Subject;
use anyhow::Result;
use ch03_recompute::config::{Config, Granularity, Method, Module, Precision};
use ch03_recompute::optimizer::{AdamW, Hyper};
use ch03_recompute::{model::Transformer, recompute::Recompute, segment::Keep};
use corpus::{Batch, Corpus};
use memory::{Account, Family};
use ops::Pass;
use params::{ParamBuilder, Params};
use std::cell::RefCell;
use std::rc::Rc;

/// One step of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Bytes that are kept between forward and backward, besides parameters, gradients
    /// and optimizer states.
    pub saved: u64,
    /// Most bytes at any moment of the step, these included, but not the scratch memory
    /// that each thread keeps to multiply in.
    pub peak: u64,
    /// Floating-point operations of all products.
    pub flops: u64,
}

/// The moment after an operation.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Whether the loss is known.
    pub backward: bool,
    /// Floating-point operations since the step began: a clock that every machine reads
    /// alike.
    pub flops: u64,
    /// Bytes of activations that are alive, of those kept for backward.
    pub saved: u64,
    /// Bytes of everything that is alive.
    pub total: u64,
}

/// Ways to recompute in a model of so many layers, each with its name.
pub fn settings(layers: usize) -> Vec<(&'static str, Config)> {
    use Module::{Attention, Norm, Swiglu};
    let selective = |modules: &[Module]| Config {
        recompute: Granularity::Selective,
        recompute_modules: modules.to_vec(),
        ..Config::default()
    };
    let full = |method, n| Config {
        recompute: Granularity::Full,
        recompute_method: Some(method),
        recompute_layers: Some(n),
        ..Config::default()
    };
    let mut settings = vec![
        ("none", Config::default()),
        ("norm", selective(&[Norm])),
        ("swiglu", selective(&[Swiglu])),
        ("attention", selective(&[Attention])),
        ("norm,swiglu", selective(&[Norm, Swiglu])),
        ("norm,swiglu,attention", selective(&[Norm, Swiglu, Attention])),
        ("uniform-1", full(Method::Uniform, 1)),
    ];
    if layers >= 2 {
        settings.push(("uniform-2", full(Method::Uniform, 2)));
        settings.push(("block-2", full(Method::Block, 2)));
    }
    settings
}

/// Bytes of a number, and of one of the type that it is summed in.
fn bytes(precision: Precision) -> [u64; 2] {
    match precision {
        Precision::Fp32 => [4, 4],
        Precision::Fp64 => [8, 8],
        Precision::Bf16 | Precision::Fp16 => [2, 4],
    }
}

impl Subject {
    /// What the tape of a layer keeps of a token, entry by entry: how many numbers in
    /// the type of the activations, and how many in the one that sums are made in.
    pub fn layer_entries(
        &self,
        recompute: &Recompute,
    ) -> Vec<(&'static str, [usize; 2])> {
        let model = &self.model;
        let (hidden, heads) = (model.hidden_size, model.num_attention_heads);
        let (mlp, (q, kv)) = (model.intermediate_size, self.widths());
        let mut entries = vec![
            ("norms, in", [2 * hidden, 0]),
            ("queries, keys, values", [q + 2 * kv, 0]),
            ("gate and up", [2 * mlp, 0]),
        ];
        if recompute.norm != Keep::Input {
            entries.push(("norms, out", [2 * hidden, 0]));
        }
        if recompute.attention != Keep::Input {
            entries.push(("attention, out", [q, heads]));
            if model.qk_norm {
                // Kept twice: as they are normalized, and before.
                entries.push(("before QK-norm", [q + 2 * kv, 0]));
            }
        }
        if recompute.swiglu != Keep::Input {
            entries.push(("swiglu, out", [mlp, 0]));
        }
        entries
    }

    /// Bytes that the tape of a layer keeps.
    fn layer(&self, recompute: &Recompute, precision: Precision) -> u64 {
        let entries = self.layer_entries(recompute);
        let [number, sum] = bytes(precision);
        let bytes =
            |[numbers, sums]: [usize; 2]| number * numbers as u64 + sum * sums as u64;
        self.tokens() * entries.into_iter().map(|(_, n)| bytes(n)).sum::<u64>()
    }

    /// Bytes of one number per token and channel.
    fn hidden(&self, precision: Precision) -> u64 {
        self.tokens() * bytes(precision)[0] * self.model.hidden_size as u64
    }

    /// Tokens whose logits `ops::head_loss` holds at a time: 16 MiB of them, but 64 at
    /// least and 256 at most, and all chunks of the same size.
    fn logits_rows(&self, sum: u64) -> u64 {
        let most = ((16 << 20) / (self.model.vocab_size as u64 * sum)).clamp(64, 256);
        self.tokens().div_ceil(self.tokens().div_ceil(most))
    }

    /// Bytes that the segments keep between forward and backward, in their order.
    fn kept(&self, recompute: &Recompute, precision: Precision) -> Vec<u64> {
        let kept = |(layers, keep): &(usize, Keep)| match keep {
            Keep::All => *layers as u64 * self.layer(recompute, precision),
            Keep::Ends | Keep::Input => self.hidden(precision),
        };
        recompute.segments.iter().map(kept).collect()
    }

    /// What the closed forms say of a step of one micro-batch.
    ///
    /// # Errors
    /// The settings do not fit the model.
    pub fn predict_step(&self, config: &Config) -> Result<Step> {
        let recompute = Recompute::new(config, self.model.num_hidden_layers)?;
        let (precision, model) = (config.precision, &self.model);
        let [number, sum] = bytes(precision);
        let hidden = self.hidden(precision);
        let kept = self.kept(&recompute, precision);
        // Besides: the last norm's input, and the gradient that the loss leaves.
        let saved = kept.iter().sum::<u64>() + 2 * hidden;

        let predicted = self.predict();
        let masters = if number < sum { sum } else { 0 };
        let states = predicted.elements * (number + masters + 2 * sum);
        // Of gradients, those of the output matrix come first.
        let vocab = model.vocab_size as u64;
        let rows = self.logits_rows(sum);
        let mut grads = sum * vocab * model.hidden_size as u64;
        let head = saved + hidden + sum * rows * vocab + grads;
        let mut most = head;
        // Then, from the last layer to the first: what the segments before keep, the
        // tape of this one up to this layer, gradients so far, and what is between
        // operations where that is most: in the backward of the gate, whose output is
        // no longer kept, but its gradient, that of its input, and the gradient of the
        // residual stream.
        let layer = self.layer(&recompute, precision);
        let wide = self.tokens() * number * model.intermediate_size as u64;
        let gate = match recompute.swiglu {
            Keep::Input => 4 * wide + hidden,
            Keep::All | Keep::Ends => 2 * wide + hidden,
        };
        let mut before = kept.iter().sum::<u64>();
        for ((layers, keep), kept) in recompute.segments.iter().zip(&kept).rev() {
            before -= kept;
            // A segment that is run again has its input and its output besides.
            let ends = if *keep == Keep::All { 0 } else { hidden };
            for i in (1..=*layers as u64).rev() {
                grads += sum * self.layer_elements();
                most = most.max(before + ends + i * layer + gate + grads);
            }
        }
        let again = self.recomputed_flops(&recompute);
        let flops = predicted.matrices + predicted.attention + again;
        Ok(Step { saved, peak: states + most, flops })
    }

    /// What the closed form says of [`Subject::measure_activations`].
    ///
    /// # Errors
    /// The settings do not fit the model.
    pub fn predict_activations(&self, config: &Config) -> Result<u64> {
        let recompute = Recompute::new(config, self.model.num_hidden_layers)?;
        let kept = self.kept(&recompute, config.precision);
        let hidden = self.hidden(config.precision);
        let layer = self.layer(&recompute, config.precision);
        // At the loss: the last norm's input and output, and the gradient that the loss
        // leaves. Then, from the last segment to the first: what those before it keep,
        // the tape of its layers, and its output, if it is run again.
        let mut before = kept.iter().sum::<u64>();
        let mut most = before + 3 * hidden;
        for ((layers, keep), kept) in recompute.segments.iter().zip(&kept).rev() {
            before -= kept;
            let ends = if *keep == Keep::All { 0 } else { hidden };
            most = most.max(before + ends + *layers as u64 * layer);
        }
        Ok(most)
    }

    /// Most bytes of activations at any moment of a step. Memory is booked to `rank`,
    /// which nobody else may use meanwhile.
    ///
    /// # Errors
    /// The step cannot be made.
    pub fn measure_activations(&self, config: &Config, rank: usize) -> Result<u64> {
        let mut trainer = Trainer::new(self, config, rank)?;
        trainer.step()?;
        let before = trainer.saved();
        memory::reset_peak(rank);
        trainer.step()?;
        Ok(memory::account(rank)[Family::Activations].peak - before)
    }

    /// Floating-point operations that are made a second time.
    fn recomputed_flops(&self, recompute: &Recompute) -> u64 {
        let predicted = self.predict();
        let layers = self.model.num_hidden_layers as u64;
        let head = (self.model.vocab_size * self.model.hidden_size) as u64;
        // Forward is two of the six operations of each element, and two of the seven
        // products of attention.
        let matrices = 2 * (self.multiplied() - head) / layers * self.tokens();
        let attention = predicted.attention / 7 * 2 / layers;
        let again = |(n, keep): &(usize, Keep)| match keep {
            Keep::All if recompute.attention == Keep::Input => *n as u64 * attention,
            Keep::All => 0,
            Keep::Ends | Keep::Input => *n as u64 * (matrices + attention),
        };
        recompute.segments.iter().map(again).sum()
    }

    /// Makes a step with chapter 3, and counts. Memory is booked to `rank`, which
    /// nobody else may use meanwhile.
    ///
    /// # Errors
    /// The step cannot be made.
    pub fn measure_step(&self, config: &Config, rank: usize) -> Result<Step> {
        let mut trainer = Trainer::new(self, config, rank)?;
        // Whatever is kept from step to step is there after the first.
        trainer.step()?;
        let flops = ops::flops();
        memory::reset_peak(rank);
        let saved = trainer.step()?;
        let peak = memory::account(rank).total.peak - trainer.base();
        Ok(Step { saved, peak, flops: ops::flops() - flops })
    }

    /// The moments of a step, one after each operation.
    ///
    /// # Errors
    /// The step cannot be made.
    pub fn watch_step(&self, config: &Config, rank: usize) -> Result<Vec<Moment>> {
        let mut trainer = Trainer::new(self, config, rank)?;
        trainer.step()?;
        // With room for all, so that it does not grow in what it watches.
        let moments = Rc::new(RefCell::new(Vec::with_capacity(1 << 16)));
        let (seen, start) = (moments.clone(), ops::flops());
        let (saved, total) = (trainer.saved(), trainer.base());
        let mut backward = false;
        let observer = move |_, pass| {
            if pass == Pass::Update {
                return;
            }
            backward |= pass == Pass::Backward;
            let account = memory::account(rank);
            seen.borrow_mut().push(Moment {
                backward,
                flops: ops::flops() - start,
                saved: account[Family::Activations].live - saved,
                total: account.total.live - total,
            });
        };
        ops::observe(observer, || trainer.step())?;
        Ok(moments.take())
    }
}

/// A model that makes one step after the other on the same random tokens.
pub struct Trainer {
    model: Transformer,
    params: Params,
    optimizer: AdamW,
    batch: Batch,
    rank: usize,
    /// What was alive before there was a model.
    base: Account,
}

impl Trainer {
    /// For `subject`, as `config` has it.
    ///
    /// # Errors
    /// They do not fit.
    pub fn new(subject: &Subject, config: &Config, rank: usize) -> Result<Trainer> {
        memory::set_rank(rank);
        let options =
            corpus::Options { seq_len: subject.seq_len, ..Default::default() };
        let data = Corpus::random(subject.model.vocab_size, &options)?;
        let batch = data.train.batch(0, subject.rows)?;
        let base = memory::account(rank);
        let recompute = Recompute::new(config, subject.model.num_hidden_layers)?;
        let dtype = config.precision.dtype();
        let mut builder = ParamBuilder::new(1, dtype);
        let (model, seq_len) = (&subject.model, subject.seq_len);
        let model = Transformer::new(model, seq_len, dtype, &recompute, &mut builder)?;
        let params = builder.build(ops::threads::count())?;
        let optimizer = AdamW::new(&params)?;
        Ok(Trainer { model, params, optimizer, batch, rank, base })
    }
    /// Makes a step; returns the bytes that were kept between forward and backward.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn step(&mut self) -> Result<u64> {
        self.params.begin_step()?;
        let before = self.saved();
        let scale = 1.0 / self.batch.target_count() as f64;
        let (loss, tape) = ops::record(|| self.model.loss(&self.batch, scale))?;
        let saved = self.saved() - before;
        tape.backward(&loss)?;
        let norm = self.optimizer.grad_norm(&self.params)?;
        let hyper =
            Hyper { lr: 1e-4, weight_decay: 0.1, max_grad_norm: 1.0, loss_scale: 1.0 };
        self.optimizer.step(&self.params, norm, &hyper)?;
        Ok(saved)
    }
    /// Bytes of activations that are alive.
    fn saved(&self) -> u64 {
        memory::account(self.rank)[Family::Activations].live
    }
    /// Bytes that are no part of a step: what was there before the model, with the
    /// scratch memory of now, which threads keep from step to step to multiply in.
    fn base(&self) -> u64 {
        let scratch = |account: Account| account[Family::Scratch].live;
        let now = memory::account(self.rank);
        self.base.total.live - scratch(self.base) + scratch(now)
    }
}
