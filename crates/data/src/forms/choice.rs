//! Open to choice: which of these are right?
//!
//! Samples are grouped so that their answers differ, and all of a group are shown the same options: each member's own
//! answer is one of them. So every option is right exactly once over the group, and no property of the text (being the
//! middle number, the longest, the second) makes it likelier.
//! The position of the right option goes through all positions in every run of as many samples.
//!
//! Classification asks for the classes that are there, so several options may be right. Two samples share the options:
//! some classes that only the first has, some that only the second has.

use std::collections::BTreeMap;

use rand::{
    Rng,
    seq::{IndexedRandom as _, SliceRandom as _},
};
use reft_core::{Sample, Task};

use super::{
    answer::Answer,
    grouping::{Groups, by_fit, by_value},
    pools::grouped,
    slip::slip,
};
/// The options of a sample, in the order of their letters.
#[derive(Debug)]
pub(super) struct Options {
    /// Each option as text, and whether it is right.
    pub(super) shown: Vec<(String, bool)>,
}

/// The options of every sample of a task, in the given order; none where no wrong one is to be had.
pub(super) fn options(
    samples: &[&Sample],
    answers: &[Answer],
    size: usize,
    rng: &mut impl Rng,
) -> Vec<Option<Options>> {
    let task = samples[0].task;
    let mut sets = if task == Task::Classification && !answers.iter().all(is_single) {
        shared_classes(samples, answers, size, rng)
    } else {
        shared_answers(samples, answers, size, rng)
    };

    // For each number of options, the positions that the next samples' right option will take.
    let mut positions: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for set in sets.iter_mut().flatten() {
        let n = set.shown.len();
        set.shown.shuffle(rng);
        let queue = positions.entry(n).or_default();
        if queue.is_empty() {
            queue.extend(0..n);
            queue.shuffle(rng);
        }
        let wanted = queue.pop().unwrap_or(0);
        // With several right options every order is as good; the shuffle has done its work.
        let right: Vec<usize> = (0..n).filter(|&i| set.shown[i].1).collect();
        if let [right] = right[..] {
            set.shown.swap(right, wanted);
        }
    }
    sets
}

fn is_single(answer: &Answer) -> bool {
    match answer {
        Answer::Classes(classes) => classes.len() == 1,
        Answer::Value(_) | Answer::Region(_) => true,
    }
}

/// One right option: the sample's own answer among those of its group.
fn shared_answers(
    samples: &[&Sample],
    answers: &[Answer],
    size: usize,
    rng: &mut impl Rng,
) -> Vec<Option<Options>> {
    let groups = grouped(samples, size, |pool| match samples[0].task {
        Task::Detection => by_fit(pool, answers, size, &Answer::differs, rng),
        Task::Classification | Task::Math | Task::Vqa => by_value(pool, answers, size, rng),
    });
    let mut company: Vec<Vec<&Answer>> = vec![Vec::new(); samples.len()];
    for group in &groups.groups {
        for &member in group {
            company[member] = others(group, member).map(|i| &answers[i]).collect();
        }
    }

    (0..samples.len())
        .map(|i| {
            let own = &answers[i];
            let wrong: Vec<Answer> = if company[i].is_empty() {
                wrong_answers(own, answers, size - 1, rng)
            } else {
                company[i].iter().map(|&answer| answer.clone()).collect()
            };
            if wrong.is_empty() {
                return None;
            }
            let wrong = wrong.iter().map(|answer| (answer.shown_in(samples[i]), false));
            Some(Options { shown: wrong.chain([(own.shown_in(samples[i]), true)]).collect() })
        })
        .collect()
}

fn others(group: &[usize], member: usize) -> impl Iterator<Item = usize> {
    group.iter().copied().filter(move |&i| i != member)
}

/// For a sample without a group: answers of others, then slips.
fn wrong_answers(own: &Answer, answers: &[Answer], count: usize, rng: &mut impl Rng) -> Vec<Answer> {
    let mut wrong: Vec<Answer> = Vec::new();
    let mut order: Vec<&Answer> = answers.iter().collect();
    order.shuffle(rng);
    for answer in order {
        let is_new = answer.differs(own) && wrong.iter().all(|w| w.differs(answer));
        if wrong.len() < count && is_new {
            wrong.push(answer.clone());
        }
    }
    while wrong.len() < count {
        let taken: Vec<&Answer> = [own].into_iter().chain(&wrong).collect();
        match slip(&taken, rng) {
            Some(slipped) => wrong.push(slipped),
            None => break,
        }
    }
    wrong
}

type Classes = BTreeMap<String, String>;

/// Several right options: classes of the sample among classes of its partner.
fn shared_classes(
    samples: &[&Sample],
    answers: &[Answer],
    size: usize,
    rng: &mut impl Rng,
) -> Vec<Option<Options>> {
    let enough = |a: &Answer, b: &Answer| {
        let (a, b) = (only_in(a, b).len(), only_in(b, a).len());
        a > 0 && b > 0 && a + b >= size
    };
    let some = |a: &Answer, b: &Answer| !only_in(a, b).is_empty() && !only_in(b, a).is_empty();
    let mut groups = grouped(samples, 2, |pool| by_fit(pool, answers, 2, &enough, rng));
    let Groups { groups: more, alone } = by_fit(&groups.alone, answers, 2, &some, rng);
    groups.groups.extend(more);

    let mut sets: Vec<Option<Options>> = Vec::new();
    sets.resize_with(samples.len(), || None);
    for group in &groups.groups {
        let &[a, b] = &group[..] else { continue };
        let (mut first, mut second) = (only_in(&answers[a], &answers[b]), only_in(&answers[b], &answers[a]));
        first.shuffle(rng);
        second.shuffle(rng);
        let total = size.min(first.len() + second.len());
        let least = total.saturating_sub(second.len()).max(1);
        let most = first.len().min(total - 1);
        let from_first = rng.random_range(least..=most);
        first.truncate(from_first);
        second.truncate(total - from_first);
        for (member, is_first) in [(a, true), (b, false)] {
            let mark = |names: &[String], right| {
                let names = names.iter().cloned();
                names.map(move |name| (name, right)).collect::<Vec<_>>()
            };
            let shown = [mark(&first, is_first), mark(&second, !is_first)].concat();
            sets[member] = Some(Options { shown });
        }
    }
    let all: Vec<(&String, &String)> = answers.iter().filter_map(classes).flatten().collect();
    for i in alone {
        sets[i] = lone_classes(&answers[i], &all, size, rng).map(|shown| Options { shown });
    }
    sets
}

fn classes(answer: &Answer) -> Option<&Classes> {
    match answer {
        Answer::Classes(classes) => Some(classes),
        Answer::Value(_) | Answer::Region(_) => None,
    }
}

/// The classes, as written, of the first answer that the second lacks.
fn only_in(a: &Answer, b: &Answer) -> Vec<String> {
    let (Some(a), Some(b)) = (classes(a), classes(b)) else {
        return Vec::new();
    };
    a.iter().filter(|(key, _)| !b.contains_key(*key)).map(|(_, name)| name.clone()).collect()
}

/// For a sample that suits no other: its classes, and others drawn as often as the data set has them.
fn lone_classes(
    own: &Answer,
    all: &[(&String, &String)],
    size: usize,
    rng: &mut impl Rng,
) -> Option<Vec<(String, bool)>> {
    let own = classes(own)?;
    let mut foreign: Vec<&(&String, &String)> =
        all.iter().filter(|(key, _)| !own.contains_key(*key)).collect();
    let mut names: Vec<&String> = own.values().collect();
    names.shuffle(rng);
    names.truncate(rng.random_range(1..size));
    let mut shown: Vec<(String, bool)> = names.into_iter().map(|n| (n.clone(), true)).collect();
    while shown.len() < size {
        let Some((key, name)) = foreign.choose(rng) else {
            break;
        };
        shown.push(((*name).clone(), false));
        foreign.retain(|(other, _)| other != key);
    }
    shown.iter().any(|(_, right)| !right).then_some(shown)
}
