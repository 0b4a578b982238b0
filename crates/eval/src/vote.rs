//! Majority vote: which answer of a group is given most often (self-consistency, Wang et al. 2023, arXiv 2203.11171).

use reft_core::{BoxFrame, Completion, Reward, Sample};
use reft_reward::{Accuracy, Reply};

/// The index of the first answer among those that most completions give; none when no completion has an answer.
///
/// Two answers are the same when the accuracy reward would pay one as the answer to the other: equal mathematically, as
/// sets of classes or letters, as boxes above the IoU threshold. Each answer joins the first earlier one that it equals;
/// of equally frequent answers the one that came first wins.
pub fn majority(
    accuracy: &Accuracy,
    answer_frame: BoxFrame,
    sample: &Sample,
    completions: &[Completion],
) -> Option<usize> {
    // The index of the first of each kind, a question whose solution it is, and how many there are.
    let mut kinds: Vec<(usize, Sample, usize)> = Vec::new();
    for (index, completion) in completions.iter().enumerate() {
        let Some(answer) = Reply::of(completion).answer.map(str::trim) else { continue };
        let same = |kind: &Sample| {
            // An answer that can be no solution equals its own text alone.
            kind.solution == answer || accuracy.score(kind, completion).is_ok_and(|paid| paid >= 1.0)
        };
        if let Some((_, _, votes)) = kinds.iter_mut().find(|(_, kind, _)| same(kind)) {
            *votes += 1;
        } else {
            let kind = Sample { solution: answer.to_owned(), box_frame: answer_frame, ..sample.clone() };
            kinds.push((index, kind, 1));
        }
    }
    let most = kinds.iter().map(|(_, _, votes)| *votes).max()?;
    kinds.iter().find(|(_, _, votes)| *votes == most).map(|(index, _, _)| *index)
}

#[cfg(test)]
mod tests {
    use reft_config::RewardConfig;
    use reft_core::{Form, Task};
    use reft_testkit::sums;

    use super::*;

    #[test]
    fn equal_answers_vote_together_whatever_they_look_like() {
        use {Form::*, Task::*};
        let (boxed, near) = ("{\"bbox_2d\": [0, 0, 10, 10]}", "[0, 0, 10, 9]");
        let cases: [(Form, Task, &[&str], Option<usize>); 10] = [
            (Open, Math, &["2", "1/2", "0.5", "\\frac{1}{2}"], Some(1)),
            (Open, Math, &["3", "4", "4", "3"], Some(0)),
            (Open, Math, &["", "nonsense", "7", "nonsense"], Some(1)),
            (Open, Classification, &["cat", "dog, cat", "Cat, Dog"], Some(1)),
            (Open, Detection, &["[50, 50, 60, 60]", boxed, near], Some(1)),
            (Open, Detection, &["nowhere", "there", "there"], Some(1)),
            (Open, Vqa, &["red", "Blue", "blue"], Some(1)),
            (Choice, Classification, &["A", "C, B", "B, C"], Some(1)),
            (Binary, Math, &["no", "yes", "Yes"], Some(1)),
            (Open, Math, &["", ""], None),
        ];
        for (form, task, answers, expected) in cases {
            let sample = Sample { form, task, solution: "unknown".into(), ..Sample::clone(&sums(1)[0]) };
            let text = |answer: &&str| match *answer {
                "" => "<think>hm</think>".to_owned(),
                answer => format!("<think>hm</think><answer>{answer}</answer>"),
            };
            let completions: Vec<Completion> = answers.iter().map(text).map(Completion::from_text).collect();
            let accuracy = Accuracy::decisive(&RewardConfig::default(), None);
            assert_eq!(
                majority(&accuracy, BoxFrame::Original, &sample, &completions),
                expected,
                "{answers:?}"
            );
        }
    }
}
