//! Work that the ranks of a run share: each does a part, everyone gets the whole, in the order of one rank.
//!
//! What is drawn for a question depends on the question alone, so who answers it changes nothing.

use std::collections::BTreeMap;

use reft_core::{Completion, Form, Part, Peers, Sample, StageError, Task, parts};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// What a rank has to say about its part.
#[derive(Serialize, Deserialize)]
enum Word<T> {
    Done(T),
    Interrupted,
}

/// What every rank made, by rank. When one was interrupted all are; when one failed, all get an error that names it.
pub fn tell<T: Serialize + DeserializeOwned>(
    peers: &dyn Peers,
    own: Result<T, StageError>,
) -> Result<Vec<T>, StageError> {
    if peers.size() == 1 {
        return own.map(|own| vec![own]);
    }
    let (word, failed) = match own {
        Ok(own) => (to_bytes(&Word::Done(own)), None),
        Err(StageError::Interrupted) => (to_bytes(&Word::<T>::Interrupted), None),
        Err(error) => (Err(error.to_string()), Some(error)),
    };
    let words = peers.exchange(word);
    // One's own error says more than what the others hear of it.
    if let Some(error) = failed {
        return Err(error);
    }
    let words = words?.iter().map(|bytes| from_bytes(bytes)).collect::<Result<Vec<Word<T>>, _>>()?;
    let done = |word| match word {
        Word::Done(done) => Ok(done),
        Word::Interrupted => Err(StageError::Interrupted),
    };
    words.into_iter().map(done).collect()
}

/// What rank 0 finds, for everyone; the others do not look.
pub fn from_first<T: Serialize + DeserializeOwned>(
    peers: &dyn Peers,
    look: impl FnOnce() -> Result<T, StageError>,
) -> Result<T, StageError> {
    // A list, as an option of what may be an option itself would not come back.
    let own = if peers.rank() == 0 { look().map(|found| vec![found]) } else { Ok(Vec::new()) };
    let found = tell(peers, own)?.into_iter().flatten().next();
    found.ok_or_else(|| StageError::other("ranks", "rank 0 has said nothing"))
}

/// A result for each of some items, in their order. Each rank works on the items that `work` gets the indices of, none
/// when there are more ranks than items.
pub(crate) fn share<T: Serialize + DeserializeOwned>(
    peers: &dyn Peers,
    costs: &[u64],
    work: impl FnOnce(&[usize]) -> Result<Vec<T>, StageError>,
) -> Result<Vec<T>, StageError> {
    if peers.size() == 1 {
        return work(&own_part(peers, costs));
    }
    let parts = parts(costs, peers.size());
    let own = &parts[peers.rank()];
    let made = if own.is_empty() { Ok(Vec::new()) } else { work(own) };
    let all = tell(peers, made)?;
    let mut results: Vec<Option<T>> = costs.iter().map(|_| None).collect();
    for (rank, (part, made)) in parts.iter().zip(all).enumerate() {
        if part.len() != made.len() {
            let message = format!("made {} results of {}", made.len(), part.len());
            return Err(StageError::other(format!("rank {rank}"), message));
        }
        for (&index, result) in part.iter().zip(made) {
            results[index] = Some(result);
        }
    }
    Ok(results.into_iter().flatten().collect())
}

/// The indices that [`share`] gives this rank.
pub(crate) fn own_part(peers: &dyn Peers, costs: &[u64]) -> Vec<usize> {
    if peers.size() == 1 {
        return (0..costs.len()).collect();
    }
    parts(costs, peers.size()).swap_remove(peers.rank())
}

fn to_bytes(value: &impl Serialize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StageError> {
    ciborium::from_reader(bytes)
        .map_err(|error| StageError::other("what another rank says", error.to_string()))
}

/// The answers to a question, each with a mark, as ranks tell them.
#[derive(Serialize, Deserialize)]
pub(crate) struct Answers<T> {
    pub(crate) prompt_tokens: usize,
    pub(crate) completions: Vec<Completion>,
    pub(crate) marks: Vec<T>,
    /// Updates that the policy has seen since the weights that answered.
    pub(crate) lag: u64,
}

/// Tokens that answers are expected to take, from those that came before; equal on all ranks. Who answers what changes the
/// last digits of log-probabilities, so that a checkpoint keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Completions and their tokens, by what was asked and how.
    seen: BTreeMap<(Task, Form), (u64, u64)>,
}

/// Bytes of a prompt's text for each of its tokens, and pixels of its pictures: near enough to share work by.
const BYTES_PER_TOKEN: u64 = 4;
const PIXELS_PER_TOKEN: u64 = 28 * 28;

impl Expected {
    /// As a checkpoint keeps it.
    pub(crate) fn save(&self) -> Value {
        let seen = self.seen.iter().map(|((task, form), (n, tokens))| json!([task, form, n, tokens]));
        Value::Array(seen.collect())
    }

    /// From a checkpoint; nothing is expected after one that does not keep it, of a run with one rank.
    pub(crate) fn load(state: &Value) -> Self {
        let seen: Vec<(Task, Form, u64, u64)> = serde_json::from_value(state.clone()).unwrap_or_default();
        Self { seen: seen.into_iter().map(|(task, form, n, tokens)| ((task, form), (n, tokens))).collect() }
    }

    /// Tokens of the prompt and of `group_size` answers, for each question.
    pub(crate) fn tokens<'a>(
        &self,
        samples: impl Iterator<Item = &'a Sample>,
        group_size: usize,
    ) -> Vec<u64> {
        let of = |sample: &Sample| {
            let (n, tokens) = self.seen.get(&(sample.task, sample.form)).copied().unwrap_or((1, 0));
            prompt_tokens(sample) + group_size as u64 * (tokens / n)
        };
        samples.map(of).collect()
    }

    pub(crate) fn observe(&mut self, sample: &Sample, completions: &[Completion]) {
        let (n, tokens) = self.seen.entry((sample.task, sample.form)).or_default();
        *n += completions.len() as u64;
        *tokens += completions.iter().map(|completion| completion.token_ids.len() as u64).sum::<u64>();
    }
}

fn prompt_tokens(sample: &Sample) -> u64 {
    let parts = sample.messages.iter().flat_map(|message| &message.content);
    parts
        .map(|part| match part {
            Part::Text(text) => text.len() as u64 / BYTES_PER_TOKEN,
            Part::Image(image) => {
                u64::from(image.size.width) * u64::from(image.size.height) / PIXELS_PER_TOKEN
            }
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use reft_core::Alone;
    use reft_testkit::ThreadPeers;

    use super::*;

    fn on_ranks<T: Send>(size: usize, run: impl Fn(&dyn Peers) -> T + Sync) -> Vec<T> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = ThreadPeers::all(size)
                .into_iter()
                .map(|peers| {
                    let run = &run;
                    scope.spawn(move || run(&peers))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn everyone_gets_everything_in_order() {
        let costs = [3, 9, 1, 4, 4];
        let squares = |peers: &dyn Peers| {
            share(peers, &costs, |own| Ok(own.iter().map(|&i| (i * i, f32::NAN.to_bits())).collect()))
                .unwrap()
        };
        let expected = squares(&Alone);
        assert_eq!(expected.iter().map(|x| x.0).collect::<Vec<_>>(), [0, 1, 4, 9, 16]);
        for size in 1..=7 {
            assert!(on_ranks(size, squares).iter().all(|got| *got == expected), "{size} ranks");
        }
    }

    #[test]
    fn a_stop_or_an_error_of_one_rank_is_everyones() {
        let run = |broken: fn() -> StageError| {
            on_ranks(3, move |peers: &dyn Peers| {
                let own = if peers.rank() == 1 { Err(broken()) } else { Ok(peers.rank()) };
                tell(peers, own).unwrap_err().to_string()
            })
        };
        assert_eq!(run(|| StageError::Interrupted), ["interrupted"; 3]);
        let errors = run(|| StageError::other("disk", "full"));
        assert_eq!(errors, ["rank 1: disk: full", "disk: full", "rank 1: disk: full"]);
    }

    #[test]
    fn a_rank_that_makes_too_little_is_named() {
        let errors = on_ranks(2, |peers: &dyn Peers| {
            share(peers, &[1, 1], |own| Ok(vec![0; own.len() - peers.rank()])).unwrap_err().to_string()
        });
        assert_eq!(errors, ["rank 1: made 0 results of 1"; 2]);
    }

    #[test]
    fn only_the_first_rank_looks() {
        let found = on_ranks(3, |peers: &dyn Peers| {
            from_first(peers, || {
                assert_eq!(peers.rank(), 0);
                Ok(None::<u8>)
            })
            .unwrap()
        });
        assert_eq!(found, [None; 3]);
    }

    #[test]
    fn what_is_expected_comes_back_from_a_checkpoint() {
        let mut expected = Expected::default();
        expected.seen.insert((Task::Math, Form::Binary), (3, 40));
        expected.seen.insert((Task::Detection, Form::Open), (1, 7));
        assert_eq!(Expected::load(&expected.save()), expected);
        assert_eq!(Expected::load(&Value::Null), Expected::default());
    }
}
