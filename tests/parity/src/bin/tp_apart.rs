//! How far chapters 5 and 6 are from chapter 1 on the same data, and their ranks from
//! each other.
use anyhow::{Context, Result, ensure};
use candle_core::DType;
use clap::Parser;
use hub::ModelConfig;
use parity::Reference;
use parity::small::{SEQ_LEN, Small, models};
use parity::tp::Rank;

/// Trains three small models in fp64, with one rank of chapter 1 and with several of
/// chapter 5 or 6, and prints the largest relative differences.
#[derive(Parser)]
struct Args {
    /// Numbers of tensor-parallel ranks
    #[arg(long, num_args = 1.., default_values_t = [2, 4])]
    tp: Vec<usize>,
    /// With those of chapter 6, which divide the sequence
    #[arg(long)]
    sp: bool,
    /// How many times as many ranks, with other data
    #[arg(long, default_value_t = 1)]
    dp: usize,
    /// Sequences of a micro-batch
    #[arg(long, default_value_t = 4)]
    micro_batch: usize,
    /// Steps of each training
    #[arg(long, default_value_t = 20)]
    steps: u64,
    /// The small models whose names contain this: tied, biases, QK-norm
    #[arg(long, default_value = "")]
    only: String,
    /// Fail if anything differs by more, or copies at all
    #[arg(long)]
    within: Option<f64>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    println!(
        "{:<8} {:>2} {:>9} {:>9} {:>9} {:>9}  copies differ by",
        "model", "tp", "loss", "norm", "gradients", "weights"
    );
    let wanted = models().into_iter().filter(|(name, _)| name.contains(&args.only));
    for (name, mut model) in wanted {
        // Behind the row-parallel matrices too.
        if model.qkv_bias {
            (model.o_bias, model.mlp_bias) = (true, true);
            model.family = hub::Family::Llama;
        }
        for tp in &args.tp {
            show(name, &model, *tp, &args)?;
        }
    }
    Ok(())
}

fn show(name: &str, model: &ModelConfig, tp: usize, args: &Args) -> Result<()> {
    let Args { dp, steps, micro_batch, .. } = *args;
    let files = Small::new(model)?;
    // What all chapters are told alike.
    macro_rules! config {
        ($chapter:ident, { $($more:tt)* }) => {
            $chapter::Config {
                model: files.model().to_string_lossy().into_owned(),
                data: vec![files.uneven()],
                tokenizer: Some("bytes".into()),
                workers: 1,
                threads: 1,
                isolate_documents: true,
                steps,
                warmup: Some(2),
                seq_len: SEQ_LEN,
                micro_batch,
                global_batch: 8,
                lr: Some(2e-3),
                validation_sequences: 7,
                quiet: true,
                precision: $chapter::config::Precision::Fp64,
                $($more)*
                ..$chapter::Config::default()
            }
        };
    }
    macro_rules! ranks {
        ($chapter:ident, { $($more:tt)* }) => {
            $chapter::run(&config!($chapter, { tp, dp, $($more)* }))?
                .into_iter()
                .map(|rank| Rank {
                    steps: rank.steps,
                    val_loss: rank.val_loss,
                    params: rank.params,
                    communication: rank.communication,
                })
                .collect()
        };
    }
    let one = ch01_single_gpu::run(&config!(ch01_single_gpu, {}))?;
    let reference = Reference::new(&one.steps, one.val_loss, &one.params)?;
    let ranks: Vec<Rank> = match args.sp {
        false => ranks!(ch05_tensor_parallel, {}),
        true => {
            use ch06_sequence_parallel::config::Switch;
            ranks!(ch06_sequence_parallel, { sp: Switch::On, })
        }
    };
    let mut worst = [0.0; 4];
    for rank in &ranks {
        let found = reference.compare(&rank.steps, rank.val_loss, &rank.params)?;
        let found = [found.loss, found.grad_norm, found.gradient.0, found.weight.0];
        for (worst, found) in worst.iter_mut().zip(found) {
            // Not the larger one: NaN is neither.
            *worst = if found <= *worst { *worst } else { found };
        }
    }
    let [loss, norm, gradients, weights] = worst;
    let (differ, param) = apart(&ranks)?;
    let copies = match differ {
        0.0 => "0".into(),
        _ => format!("{differ:.1e} in {param}"),
    };
    println!(
        "{name:<8} {tp:>2} {loss:>9.1e} {norm:>9.1e} {gradients:>9.1e} \
         {weights:>9.1e}  {copies}"
    );
    if let Some(within) = args.within {
        // Not "any is beyond": NaN is not.
        let near = worst.iter().all(|distance| *distance <= within);
        ensure!(near && differ == 0.0, "{name}, tp {tp}: beyond {within:.0e}");
    }
    Ok(())
}

/// The largest difference between what two ranks hold of the same slice, relative to
/// the slice as a vector, and of which parameter.
fn apart(ranks: &[Rank]) -> Result<(f64, String)> {
    let mut worst = (0.0, String::new());
    for (i, rank) in ranks.iter().enumerate() {
        for param in rank.params.iter() {
            let shard = param.shard();
            let copies = ranks[..i].iter().filter_map(|other| {
                other.params.get(&shard.name).filter(|other| {
                    let other = other.shard();
                    other.offset == shard.offset && other.shape == shard.shape
                })
            });
            let Some(copy) = copies.into_iter().next() else { continue };
            let [own, other] = [param, copy].map(|param| -> Result<Vec<f64>> {
                let values = param.to_tensor()?.to_dtype(DType::F64)?.flatten_all()?;
                Ok(values.to_vec1()?)
            });
            let (own, other) = (own?, other.context("the other rank's")?);
            let norm =
                |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
            let differ = norm(&mut own.iter().zip(&other).map(|(a, b)| a - b));
            if differ != 0.0 {
                let relative = differ / norm(&mut other.iter().copied());
                if relative > worst.0 || relative.is_nan() {
                    let name = shard.name.trim_start_matches("model.");
                    worst = (relative, name.trim_end_matches(".weight").into());
                }
            }
        }
    }
    Ok(worst)
}
