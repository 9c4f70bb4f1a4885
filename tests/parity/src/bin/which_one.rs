//! One model on four ranks in every way the chapters know: what a rank holds, and what
//! it sends in a step. For the page *Which one, when?*.
use anyhow::{Result, ensure};
use ch08_zero::plan::Plan;
use ch08_zero::run::{Parts, build, plan};
use ch08_zero::{Config, inputs, train};
use clap::Parser;
use comm::Group;
use memory::Family;
use runlog::Interrupt;

/// The layouts: a word for each, and its flags. Four micro-batches of one sequence in a
/// step of each pipeline; data-parallel ranks have one each.
const LAYOUTS: [(&str, &str); 9] = [
    ("one", "--dp 1 --zero 0"),
    ("dp", "--dp 4 --zero 0"),
    ("zero-1", "--dp 4 --zero 1"),
    ("zero-2", "--dp 4 --zero 2"),
    ("zero-3", "--dp 4 --zero 3"),
    ("tp", "--dp 1 --zero 0 --tp 4 --sp off"),
    ("tp-sp", "--dp 1 --zero 0 --tp 4"),
    ("pp", "--dp 1 --zero 0 --pp 4"),
    ("pp-tp", "--dp 1 --zero 0 --pp 2 --tp 2"),
];

/// What one rank comes to.
#[derive(Clone, Copy, Default)]
struct Counts {
    parameters: u64,
    gradients: u64,
    states: u64,
    activations: u64,
    sent: u64,
    calls: u64,
}

impl Counts {
    /// Of each, the larger.
    fn max(self, other: Counts) -> Counts {
        Counts {
            parameters: self.parameters.max(other.parameters),
            gradients: self.gradients.max(other.gradients),
            states: self.states.max(other.states),
            activations: self.activations.max(other.activations),
            sent: self.sent.max(other.sent),
            calls: self.calls.max(other.calls),
        }
    }
}

fn main() -> Result<()> {
    let interrupt = Interrupt::install()?;
    println!(
        "{:10}{:>12}{:>12}{:>12}{:>12}{:>12}{:>8}",
        "layout", "parameters", "gradients", "states", "kept", "sent", "calls"
    );
    for (name, flags) in LAYOUTS {
        let all = format!(
            "ferrotron --model tiny --data random --seq-len 128 --global-batch 4 \
             --micro-batch 1 --threads 1 --quiet --steps 1 {flags}"
        );
        let config = Config::try_parse_from(all.split(' '))?;
        config.check()?;
        let inputs = inputs::open(&config)?;
        let plan = plan(&config)?;
        let ranks = comm::launch_threads(config.ranks(), |world: Group| {
            count(&config, &inputs, &plan, &interrupt, world)
        })?;
        let most = ranks.into_iter().fold(Counts::default(), Counts::max);
        let Counts { parameters, gradients, states, activations, sent, calls } = most;
        println!(
            "{name:10}{parameters:>12}{gradients:>12}{states:>12}{activations:>12}\
             {sent:>12}{calls:>8}"
        );
    }
    Ok(())
}

/// The second of two steps, on one rank.
fn count(
    config: &Config,
    inputs: &inputs::Inputs,
    plan: &Plan,
    interrupt: &Interrupt,
    world: Group,
) -> Result<Counts> {
    let _threads = ops::threads::own(1);
    let Parts { mesh, params, zero, pipeline, mut optimizer } =
        build(config, inputs, plan, world, 1)?;
    let (world, data) = (mesh.world(), &inputs.data.train);
    let mut step = || -> Result<()> {
        let (mut steps, lr) = (vec![], inputs.max_lr);
        let ended = train::train(
            config,
            lr,
            data,
            &pipeline,
            &params,
            &zero,
            &mesh,
            &mut optimizer,
            None,
            None,
            interrupt,
            &mut steps,
        )?;
        ensure!(ended.is_none(), "{ended:?}");
        Ok(())
    };
    step()?;
    world.barrier("counted")?;
    memory::reset_peak(world.rank());
    world.ledger().reset();
    step()?;
    let account = memory::account(world.rank());
    // What a step is about, and not the words that ranks exchange around it.
    let lines = world.ledger().lines();
    let [mut sent, mut calls] = [0, 0];
    for line in lines.iter().filter(|line| line.family != "counted") {
        sent += line.entry.bytes;
        calls += line.entry.calls;
    }
    world.barrier("counted")?;
    Ok(Counts {
        parameters: account[Family::Parameters].live,
        gradients: account[Family::Gradients].peak,
        states: account[Family::Optimizer].live,
        activations: account[Family::Activations].peak,
        sent,
        calls,
    })
}
