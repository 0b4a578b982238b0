//! Where the answer is in a completion.
//!
//! The answer is the content of the *last* complete `<answer>` block outside every think block.
//! An unclosed block counts only where the completion was cut by the length limit and no complete block came before.
//! Where the chat template has opened the think block ([`Completion::think_opened`]), the completion starts inside it.
//! Without tags there is no answer. Only the completion is read, so tags in the prompt never count.

use reft_core::{Completion, FinishReason, Sample};

const THINK: &str = "<think>";
const END_THINK: &str = "</think>";
const ANSWER: &str = "<answer>";
const END_ANSWER: &str = "</answer>";

/// The parts of a completion, found in one pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The content of the first think block, trimmed; cut off where the completion was.
    pub thinking: Option<&'a str>,
    /// The answer, trimmed and never empty.
    pub answer: Option<&'a str>,
    /// Whether prompt and completion make one think block, then one answer block, and nothing else but white space around.
    pub well_formed: bool,
}

impl<'a> Reply<'a> {
    /// Reads a completion.
    pub fn of(completion: &'a Completion) -> Self {
        let text = completion.text.as_str();
        let mut state = if completion.think_opened { State::Thinking(0) } else { State::Outside };
        let mut thinking = None;
        let mut answer = None;
        for (start, tag) in tags(text) {
            let end = start + tag.len();
            state = match (state, tag) {
                (State::Outside, THINK) => State::Thinking(end),
                // Some chat templates open the think block in the prompt, so the first close may lack its opening.
                (State::Outside, END_THINK) if thinking.is_none() => {
                    thinking = Some(text[..start].trim());
                    answer = None;
                    State::Outside
                }
                (State::Thinking(from), END_THINK) => {
                    thinking = thinking.or(Some(text[from..start].trim()));
                    State::Outside
                }
                (State::Outside | State::Answering(_), ANSWER) => State::Answering(end),
                (State::Answering(from), END_ANSWER) => {
                    answer = Some(text[from..start].trim());
                    State::Outside
                }
                (state, _) => state,
            };
        }
        let cut = completion.finish == FinishReason::Length;
        match state {
            State::Thinking(from) => thinking = thinking.or(Some(text[from..].trim())),
            State::Answering(from) if cut && answer.is_none() => answer = Some(text[from..].trim()),
            State::Answering(_) | State::Outside => {}
        }
        Self {
            thinking,
            answer: answer.filter(|answer| !answer.is_empty()),
            well_formed: is_well_formed(text, completion.think_opened),
        }
    }
}

/// The right answer of a sample, bare: some data sets keep it inside `<answer>` tags.
pub fn solution(sample: &Sample) -> &str {
    let text = sample.solution.as_str();
    let inner = text
        .rfind(END_ANSWER)
        .and_then(|end| text[..end].rfind(ANSWER).map(|start| &text[start + ANSWER.len()..end]));
    inner.unwrap_or(text).trim()
}

#[derive(Clone, Copy)]
enum State {
    Outside,
    Thinking(usize),
    Answering(usize),
}

/// Every tag of the text with its byte offset, in order.
fn tags(text: &str) -> impl Iterator<Item = (usize, &'static str)> + '_ {
    let opens = text.bytes().enumerate().filter(|&(_, byte)| byte == b'<');
    opens.filter_map(move |(at, _)| {
        let candidates: &[&'static str] = match text.as_bytes().get(at + 1) {
            Some(b't') => &[THINK],
            Some(b'a') => &[ANSWER],
            Some(b'/') => &[END_THINK, END_ANSWER],
            _ => &[],
        };
        candidates.iter().find(|&&tag| text[at..].starts_with(tag)).map(|&tag| (at, tag))
    })
}

fn is_well_formed(text: &str, think_opened: bool) -> bool {
    // One more than it may have tells enough.
    let order: Vec<_> = tags(text).take(5).collect();
    let blank = |part: &str| part.trim().is_empty();
    let (order, begins) = match &order[..] {
        rest if think_opened => (rest, true),
        [(t0, THINK), rest @ ..] => (rest, blank(&text[..*t0])),
        _ => return false,
    };
    let &[(t1, END_THINK), (a0, ANSWER), (a1, END_ANSWER)] = order else {
        return false;
    };
    begins
        && blank(&text[t1 + END_THINK.len()..a0])
        && !blank(&text[a0 + ANSWER.len()..a1])
        && blank(&text[a1 + END_ANSWER.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str, finish: FinishReason) -> (Option<String>, bool) {
        let completion = Completion { finish, ..Completion::from_text(text) };
        let reply = Reply::of(&completion);
        (reply.answer.map(str::to_owned), reply.well_formed)
    }

    #[test]
    fn answers_and_format() {
        use FinishReason::{Length, Stop};
        let cases = [
            ("<think>t</think><answer>5</answer>", Stop, Some("5"), true),
            ("\n <think>t</think>\n\n<answer> 5 </answer>\n", Stop, Some("5"), true),
            ("<think></think><answer>5</answer>", Stop, Some("5"), true),
            // The last block wins; two blocks are not the format.
            ("<think>t</think><answer>yes</answer><answer>no</answer>", Stop, Some("no"), false),
            // Blocks inside the thinking never count.
            ("<think><answer>5</answer></think><answer>6</answer>", Stop, Some("6"), false),
            ("<think><answer>5</answer></think>", Stop, None, false),
            ("<think><answer>5</answer>", Stop, None, false),
            ("<answer>5</answer></think>", Stop, None, false),
            // A think block opened by the prompt.
            ("t</think><answer>5</answer>", Stop, Some("5"), false),
            ("<answer>5</answer>", Stop, Some("5"), false),
            ("5", Stop, None, false),
            ("", Stop, None, false),
            // Unclosed blocks count only where the length limit cut them.
            ("<think>t</think><answer>5", Length, Some("5"), false),
            ("<think>t</think><answer>5", Stop, None, false),
            ("<think>t</think><answer>5</answer><answer>6", Length, Some("5"), false),
            ("<think>t</think><answer> </answer>", Stop, None, false),
            ("<think>t</think><answer>x<answer>5</answer>", Stop, Some("5"), false),
            ("<think>t</think>so <answer>5</answer>", Stop, Some("5"), false),
            ("<think>t</think><answer>5</answer> done", Stop, Some("5"), false),
            ("<THINK>t</THINK><ANSWER>5</ANSWER>", Stop, None, false),
        ];
        for (text, finish, answer, well_formed) in cases {
            assert_eq!(reply(text, finish), (answer.map(str::to_owned), well_formed), "{text}");
        }
    }

    #[test]
    fn a_block_that_the_prompt_opened() {
        let cases = [
            ("t\n</think>\n\n<answer>5</answer>", Some("5"), true),
            ("</think><answer>5</answer>", Some("5"), true),
            ("t</think><answer>5</answer> more", Some("5"), false),
            ("t <answer>5</answer>", None, false),
            ("a</think>b</think><answer>5</answer>", Some("5"), false),
            ("<answer>4</answer></think><answer>5</answer>", Some("5"), false),
            ("<think>t</think><answer>5</answer>", Some("5"), false),
        ];
        for (text, answer, well_formed) in cases {
            let completion = Completion { think_opened: true, ..Completion::from_text(text) };
            let reply = Reply::of(&completion);
            assert_eq!((reply.answer, reply.well_formed), (answer, well_formed), "{text}");
        }
    }

    #[test]
    fn thinking_is_the_first_block() {
        let completion = Completion::from_text("<think> a </think><answer>5</answer>");
        assert_eq!(Reply::of(&completion).thinking, Some("a"));
        let cut = Completion { finish: FinishReason::Length, ..Completion::from_text("<think> a") };
        assert_eq!(Reply::of(&cut).thinking, Some("a"));
    }
}
