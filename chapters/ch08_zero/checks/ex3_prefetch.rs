//! An order of calls, recorded call by call, and carried out by the chapter's `Zero`.
use super::ranks;
use crate::answer::ex3_prefetch::*;
use candle_core::DType;
use ch08_zero::zero::Zero;
use comm::{Layout, Mesh};
use params::{Init, ParamBuilder};

/// Stretches of so many buffers each, the embedding's and the head's included.
fn model(lengths: &[usize], tied: bool) -> Vec<Vec<usize>> {
    let mut next = 0;
    let stretch = |n: &usize| {
        next += n;
        (next - n..next).collect()
    };
    let mut stretches: Vec<Vec<usize>> = lengths.iter().map(stretch).collect();
    if let Some(last) = stretches.last_mut().filter(|_| tied) {
        last.push(0);
    }
    stretches
}

/// Without layers, with one, with many, and with several to a stretch; tied and not.
fn models() -> Vec<Vec<Vec<usize>>> {
    let lengths: [&[usize]; 5] =
        [&[1, 1, 1, 1, 1, 1], &[1, 1, 1], &[1, 1], &[1, 2, 3, 1], &[1, 1, 2, 1, 2, 1]];
    let both = [false, true].into_iter();
    both.flat_map(|tied| lengths.map(|lengths| model(lengths, tied))).collect()
}

/// Flat buffers of a model.
fn buffers(stretches: &[Vec<usize>]) -> usize {
    stretches.iter().flatten().max().map_or(0, |last| last + 1)
}

/// The buffers of a stretch.
fn flats(stretches: &[Vec<usize>], at: usize) -> &[usize] {
    stretches.get(at).map_or(&[], |flats| flats)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Pass {
    Forward,
    Backward,
}

/// Where a buffer is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Away,
    /// Asked for when so many stretches had worked.
    Coming(usize),
    Here,
}

/// What has come of the calls so far.
struct Recorder<'a> {
    stretches: &'a [Vec<usize>],
    pass: Pass,
    places: Vec<Place>,
    /// How often each buffer was gathered.
    gathered: Vec<usize>,
    /// Stretches that have worked.
    worked: usize,
}

type Told = Result<(), String>;

impl<'a> Recorder<'a> {
    fn new(stretches: &'a [Vec<usize>], pass: Pass) -> Recorder<'a> {
        let mut places = vec![Place::Away; buffers(stretches)];
        if pass == Pass::Backward {
            stretches[stretches.len() - 1]
                .iter()
                .for_each(|i| places[*i] = Place::Here);
        }
        let gathered = vec![0; places.len()];
        Recorder { stretches, pass, places, gathered, worked: 0 }
    }
    /// The stretch that works after so many others, if there is one left.
    fn turn(&self, worked: usize) -> Option<usize> {
        let left = self.stretches.len().checked_sub(worked + 1)?;
        Some(if self.pass == Pass::Forward { worked } else { left })
    }
    /// The buffers that a stretch needs.
    fn needs(&self, at: Option<usize>) -> &'a [usize] {
        match (self.pass, at) {
            (_, None) | (Pass::Backward, Some(0)) => &[],
            (_, Some(at)) => flats(self.stretches, at),
        }
    }
    fn gather(&mut self, flat: usize) -> Told {
        let last = flats(self.stretches, self.stretches.len() - 1);
        let of = self.stretches.iter().filter(|flats| flats.contains(&flat)).count();
        self.gathered[flat] += 1;
        match self.pass {
            Pass::Backward if last.contains(&flat) => Err(
                "the last stretch's buffers were here when backward began, and it is \
                 the first to work: nobody needs them again"
                    .to_string(),
            ),
            Pass::Backward if flat == 0 => Err(
                "it is gathered for nothing: backward of the embedding needs no values"
                    .to_string(),
            ),
            _ if self.gathered[flat] > of => Err(format!(
                "it is gathered {} times in one pass, and {of} would do",
                self.gathered[flat]
            )),
            _ => Ok(()),
        }?;
        self.places[flat] = Place::Coming(self.worked);
        self.not_too_many()
    }
    fn held(&self) -> Vec<usize> {
        let all = 0..self.places.len();
        all.filter(|flat| self.places[*flat] != Place::Away).collect()
    }
    /// What has memory belongs to two neighbouring stretches.
    fn not_too_many(&self) -> Told {
        let held = self.held();
        let fits = |pair: &[Vec<usize>]| {
            held.iter().all(|flat| pair.iter().any(|flats| flats.contains(flat)))
        };
        match self.stretches.windows(2).any(fits) {
            true => Ok(()),
            false => Err(format!(
                "buffers {held:?} are here or under way now, and no two neighbouring \
                 stretches have all of these: free what has worked before you start \
                 the next gather, and start no more than the next one"
            )),
        }
    }
    fn call(&mut self, call: Call) -> Told {
        match call {
            Call::Fetch(flat) | Call::Need(flat) | Call::Free(flat)
                if flat >= self.places.len() =>
            {
                Err(format!("there are buffers 0 to {}", self.places.len() - 1))
            }
            Call::Fetch(flat) if self.places[flat] == Place::Away => self.gather(flat),
            Call::Fetch(_) => Ok(()),
            Call::Need(flat) => {
                let first = self.pass == Pass::Forward
                    && self.worked == 0
                    && flats(self.stretches, 0).contains(&flat);
                if self.places[flat] == Place::Away {
                    self.gather(flat)?;
                }
                if self.places[flat] == Place::Coming(self.worked) && !first {
                    return Err(
                        "it is waited for, and no stretch has worked since its gather \
                         was started: nothing is hidden"
                            .into(),
                    );
                }
                self.places[flat] = Place::Here;
                Ok(())
            }
            Call::Free(flat) => self.free(flat),
            Call::Work(at) => self.work(at),
        }
    }
    fn free(&mut self, flat: usize) -> Told {
        let turn = self.turn(self.worked);
        match self.places[flat] {
            Place::Coming(_) => {
                Err("it is still under way: gathered for nothing".into())
            }
            Place::Here if self.needs(turn).contains(&flat) => Err(format!(
                "stretch {} works next, and needs it",
                turn.unwrap_or_default()
            )),
            _ => {
                self.places[flat] = Place::Away;
                Ok(())
            }
        }
    }
    fn work(&mut self, at: usize) -> Told {
        let Some(turn) = self.turn(self.worked) else {
            return Err("every stretch has worked".into());
        };
        if at != turn {
            return Err(format!("it is stretch {turn}'s turn"));
        }
        for flat in self.needs(Some(at)) {
            match self.places[*flat] {
                Place::Here => {}
                Place::Coming(_) => {
                    return Err(format!(
                        "its buffer {flat} is under way, and nobody has waited for it"
                    ));
                }
                Place::Away => return Err(format!("its buffer {flat} is not here")),
            }
        }
        let next = self.turn(self.worked + 1);
        for flat in self.needs(next) {
            if self.places[*flat] == Place::Away {
                return Err(format!(
                    "stretch {} is next, and nobody has started to gather its buffer \
                     {flat}: nothing travels meanwhile",
                    next.unwrap_or_default()
                ));
            }
        }
        self.worked += 1;
        Ok(())
    }
    /// After the last call.
    fn end(&self) -> Told {
        if let Some(turn) = self.turn(self.worked) {
            return Err(format!("stretch {turn} has not worked"));
        }
        let stay: &[usize] = match self.pass {
            Pass::Forward => flats(self.stretches, self.stretches.len() - 1),
            Pass::Backward => &[],
        };
        for (flat, place) in self.places.iter().enumerate() {
            match (stay.contains(&flat), place) {
                (true, Place::Here) | (false, Place::Away) => {}
                (true, _) => {
                    return Err(format!(
                        "buffer {flat} is not here: the last stretch is the first in \
                         backward"
                    ));
                }
                (false, _) => {
                    return Err(format!("buffer {flat} still takes memory"));
                }
            }
        }
        Ok(())
    }
}

/// Goes through all calls, each of which has to be right.
fn record(stretches: &[Vec<usize>], pass: Pass, calls: &[Call]) {
    let mut recorder = Recorder::new(stretches, pass);
    for (i, call) in calls.iter().enumerate() {
        if let Err(why) = recorder.call(*call) {
            // The last few calls say where it is.
            let before = &calls[i.saturating_sub(6)..i];
            let dots = if i > 6 { "…, " } else { "" };
            let before: Vec<String> =
                before.iter().map(|call| format!("{call:?}")).collect();
            panic!(
                "{pass:?} of {stretches:?}: {call:?}, behind [{dots}{}]: {why}",
                before.join(", ")
            )
        }
    }
    if let Err(why) = recorder.end() {
        panic!("{pass:?} of {stretches:?}, after all {} calls: {why}", calls.len())
    }
}

#[test]
fn forward_call_by_call() {
    for stretches in models() {
        record(&stretches, Pass::Forward, &forward(&stretches));
    }
}

#[test]
fn backward_call_by_call() {
    for stretches in models() {
        record(&stretches, Pass::Backward, &backward(&stretches));
    }
}

/// Elements of a buffer: others for each.
fn elements(flat: usize) -> usize {
    6 + 2 * flat
}

/// The calls on two ranks. Of each, where a stretch works with other values than were
/// drawn: the pass, the stretch and the buffer.
fn carried_out(
    stretches: &[Vec<usize>],
    passes: &[(Pass, Vec<Call>)],
) -> Vec<Vec<(Pass, usize, usize)>> {
    ranks(2, "the calls, carried out by the chapter's `Zero`", |world| {
        let mesh = Mesh::new(world, &Layout::default())?;
        let mut builder = ParamBuilder::new(1, DType::F64).multiple_of(2);
        for flat in 0..buffers(stretches) {
            builder.add(&flat.to_string(), &[elements(flat)], Init::Normal(1.0));
            builder.next_flat();
        }
        // SAFETY: all of a buffer is drawn before anybody reads it, and from then on
        // only what was recorded is carried out: a stretch works with what is here.
        let params = unsafe { builder.build_without_memory()? };
        let mut drawn = vec![];
        let (zero, params) = Zero::new(3, params, &mesh, |params| {
            for flat in &params.flats {
                flat.draw(1, 1)?;
                drawn.push(flat.values.read::<f64>(0..flat.values.len())?.to_vec());
            }
            Ok(())
        })?;
        let mut wrong = vec![];
        for (pass, calls) in passes {
            for call in calls {
                match *call {
                    Call::Fetch(flat) => zero.fetch(&[flat])?,
                    Call::Need(flat) => zero.need(&[flat])?,
                    Call::Free(flat) => zero.free(&[flat])?,
                    Call::Work(0) if *pass == Pass::Backward => {}
                    Call::Work(at) => {
                        for flat in &stretches[at] {
                            let values = &params.flats[*flat].values;
                            let values = values.read::<f64>(0..values.len())?;
                            if values[..] != drawn[*flat] {
                                wrong.push((*pass, at, *flat));
                            }
                        }
                    }
                }
            }
        }
        anyhow::Ok(wrong)
    })
}

#[test]
fn carried_out_on_two_ranks() {
    for stretches in models() {
        let passes = [
            (Pass::Forward, forward(&stretches)),
            (Pass::Backward, backward(&stretches)),
        ];
        passes.iter().for_each(|(pass, calls)| record(&stretches, *pass, calls));
        for (rank, wrong) in carried_out(&stretches, &passes).into_iter().enumerate() {
            assert!(
                wrong.is_empty(),
                "{stretches:?}, rank {rank}: other values than were drawn, each with \
                 its pass, stretch and buffer: {wrong:?}"
            );
        }
    }
}
