//! Curr-ReFT as published: the three stages of the original code, faults included.
//!
//! Source: ding523/Curr_REFT, `train_code/grpo/open-r1-multimodal/src/open_r1/` at `f123433`:
//! `Stage1_judge_math_resize.py`, `Stage2_choice_math_resize.py`, `Stage3_open_math_resize.py`.
//! What the paper describes is `reft_reward::Rubric::paper`; these are for comparing with published curves.

use std::collections::HashSet;

use super::{
    PeerRow, Symbolic,
    python::{is_space, strip},
    tags::{
        Span, first_answer, first_answer_or_cut, first_answer_or_open, is_think_answer, is_think_answer_box,
        truncated_boxes,
    },
    vlm_r1::iou,
};

/// A stage of the curriculum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Yes or no.
    Judge,
    /// Option letters.
    Choice,
    /// Free answers.
    Open,
}

/// The task of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerTask {
    /// Boxes.
    Detection,
    /// Class names.
    Classify,
    /// Mathematics.
    Math,
}

/// The accuracy of a stage, which the original calls `iou_reward` whatever the task.
pub(super) fn accuracy(row: &PeerRow<'_>, stage: Stage, task: PeerTask, symbolic: Symbolic) -> f64 {
    match (stage, task) {
        (Stage::Judge, task) => judge(row, task, symbolic),
        (Stage::Choice, _) => choice(row, symbolic),
        (Stage::Open, PeerTask::Detection) => open_detection(row),
        (Stage::Open, PeerTask::Classify) => open_classes(row),
        (Stage::Open, PeerTask::Math) => open_math(row, symbolic),
    }
}

/// Pays 1 for a think block and an answer block; detection wants a box in braces in every stage.
///
/// What it gets wrong: the right answer of stages 1 and 2 is no box, so their detection samples never earn it.
pub(super) fn format(row: &PeerRow<'_>, task: PeerTask) -> f64 {
    f64::from(match task {
        PeerTask::Detection => is_think_answer_box(row.completion),
        PeerTask::Classify | PeerTask::Math => is_think_answer(row.completion),
    })
}

/// Stage 1: 1 when both answers say the same; mathematics may also agree by the symbolic step.
///
/// What it gets wrong: `yes`, `true` or `correct` anywhere makes an answer yes, so `not correct`, and `no, yes` too.
fn judge(row: &PeerRow<'_>, task: PeerTask, symbolic: Symbolic) -> f64 {
    let said = |text| first_answer_or_open(text).and_then(yes_no);
    let answer = said(row.completion);
    let right = answer.is_some() && answer == said(row.solution);
    let symbolic = || task == PeerTask::Math && symbolic.same(row.completion, row.solution).unwrap_or(false);
    f64::from(right || symbolic())
}

fn yes_no(answer: &str) -> Option<bool> {
    let lower = answer.to_lowercase();
    // Only letters count as neighbours, so `yes5` and `_yes_` are yes.
    let mut words = lower.split(|c: char| !c.is_ascii_lowercase());
    if words.clone().any(|word| ["yes", "true", "correct"].contains(&word)) {
        return Some(true);
    }
    words.any(|word| ["no", "false", "incorrect"].contains(&word)).then_some(false)
}

/// Stage 2: 1 when both answers name the same letters in the same order.
///
/// What it gets wrong: without a letter on either side the lists are equal, so any number is paid for any other;
/// `B, A` is not `A, B`; the article of `B. a cat` is option A.
fn choice(row: &PeerRow<'_>, symbolic: Symbolic) -> f64 {
    let Ok(same) = symbolic.same(row.completion, row.solution) else {
        return 0.0;
    };
    let options = |text| first_answer_or_open(text).map(letters);
    match options(row.completion) {
        Some(given) => f64::from(options(row.solution) == Some(given)),
        None => f64::from(same),
    }
}

/// Single letters A to E without a letter beside them, in order, without repeats.
fn letters(answer: &str) -> Vec<char> {
    let upper = answer.to_uppercase();
    let mut found = Vec::new();
    for word in upper.split(|c: char| !c.is_ascii_alphabetic()) {
        if let [letter @ b'A'..=b'E'] = *word.as_bytes()
            && !found.contains(&char::from(letter))
        {
            found.push(char::from(letter));
        }
    }
    found
}

/// Stage 3, boxes: 1 when the *last* box of the answer overlaps the right one by more than half, both cut to whole
/// pixels.
///
/// What it gets wrong: the overlap counts one pixel less on the right and lower side, and boxes are compared in
/// whatever frame they are written, although large images are resized.
fn open_detection(row: &PeerRow<'_>) -> f64 {
    let answer = strip(first_answer_or_cut(row.completion).unwrap_or(row.completion));
    let nothing = [0.0; 4];
    let mut given = truncated_boxes(&answer.replace(' ', "")).next_back().unwrap_or(nothing);
    if given == nothing {
        given = truncated_boxes(answer).next().unwrap_or(nothing);
    }
    let right = first_answer(row.solution, Span::Lines)
        .map(|solution| truncated_boxes(solution).next().unwrap_or(nothing));
    f64::from(right.and_then(|right| iou(&given, &right)).is_some_and(|overlap| overlap > 0.5))
}

/// Stage 3, classes: intersection over union of words.
///
/// What it gets wrong: names fall apart at spaces, so `light traffic` is `traffic light` and `traffic sign` a third of
/// it; lists in brackets raise and earn 0; an answer that was cut off loses its last character.
fn open_classes(row: &PeerRow<'_>) -> f64 {
    let answer = strip(first_answer_or_cut(row.completion).unwrap_or(row.completion));
    if answer.contains('[') {
        return 0.0;
    }
    let given = class_words(answer);
    let right = first_answer(row.solution, Span::Lines).map(class_words).unwrap_or_default();
    let either = given.union(&right).count();
    if either == 0 { 0.0 } else { given.intersection(&right).count() as f64 / either as f64 }
}

fn class_words(text: &str) -> HashSet<&str> {
    text.split(|c| is_space(c) || ",，、".contains(c)).filter(|word| !word.is_empty()).collect()
}

/// Stage 3, mathematics: 1 when the symbolic step agrees, or the answers name the same letters, or one contains the
/// other.
///
/// What it gets wrong: two answers without letters name the same letters, namely none, so nearly every tagged answer
/// is paid, a wrong number among them.
fn open_math(row: &PeerRow<'_>, symbolic: Symbolic) -> f64 {
    if symbolic.same(row.completion, row.solution).unwrap_or(false) {
        return 1.0;
    }
    let answers = first_answer_or_open(row.completion).zip(first_answer_or_open(row.solution));
    f64::from(answers.is_some_and(|(given, right)| {
        let (given, right) = (strip(given), strip(right));
        letters(given) == letters(right) || given.contains(right) || right.contains(given)
    }))
}
