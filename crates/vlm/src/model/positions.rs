//! Positions: computed once per sequence, from typed image spans.
//!
//! With M-RoPE (Qwen2-VL, arXiv 2409.12191, section 2.1) text advances time, height and width together. The tokens of an image share one time and spread over height and
//! width; the text after it continues from the largest position so far.

use reft_core::ImageGrid;

/// How positions run over an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImagePositions {
    /// Like text: its tokens are counted one after another.
    Linear,
    /// Over height and width (M-RoPE).
    Spread {
        /// Patches merged into one token along each side.
        merge: usize,
    },
}

/// Positions of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptPositions {
    /// `[t]` time, height and width of each token.
    pub thw: Vec<[i64; 3]>,
    /// The position of the first token after the prompt, equal on all axes.
    pub next: i64,
}

/// Positions of a prompt of `length` tokens whose images start at the given tokens.
pub fn prompt_positions(
    length: usize,
    images: &[(usize, ImageGrid)],
    scheme: ImagePositions,
) -> PromptPositions {
    let (images, merge) = match scheme {
        ImagePositions::Linear => (&[][..], 1),
        ImagePositions::Spread { merge } => (images, merge),
    };
    let mut thw = Vec::with_capacity(length);
    let mut next = 0;
    let text = |until: usize, thw: &mut Vec<[i64; 3]>, next: &mut i64| {
        while thw.len() < until {
            thw.push([*next; 3]);
            *next += 1;
        }
    };
    for &(start, grid) in images {
        text(start, &mut thw, &mut next);
        let (rows, columns) = (grid.rows / merge, grid.columns / merge);
        for token in 0..grid.tokens {
            thw.push([next, next + (token / columns) as i64, next + (token % columns) as i64]);
        }
        next += rows.max(columns) as i64;
    }
    text(length, &mut thw, &mut next);
    PromptPositions { thw, next }
}

#[cfg(test)]
mod tests {
    use reft_core::ImageSize;

    use super::*;

    #[test]
    fn image_between_text_by_hand() {
        // Two merged rows, three merged columns, after one token of text.
        let resized = ImageSize { width: 6 * 14, height: 4 * 14 };
        let grid = ImageGrid { resized, rows: 4, columns: 6, tokens: 6 };
        let positions = prompt_positions(9, &[(1, grid)], ImagePositions::Spread { merge: 2 });
        let expected =
            [[0; 3], [1, 1, 1], [1, 1, 2], [1, 1, 3], [1, 2, 1], [1, 2, 2], [1, 2, 3], [4; 3], [5; 3]];
        assert_eq!(positions.thw, expected);
        assert_eq!(positions.next, 6);
        let linear = prompt_positions(9, &[(1, grid)], ImagePositions::Linear);
        assert_eq!((linear.thw[8], linear.next), ([8; 3], 9));
    }
}
