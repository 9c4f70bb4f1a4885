//! Which words of a changed line differ.
use similar::{Algorithm, DiffOp, DiffTag, capture_diff_slices};
use std::ops::Range;

/// Lines of which less than this share is equal are different lines: nothing in them is
/// marked.
const ALIKE: f64 = 0.5;

/// Blocks of more lines than this are not compared line by line.
const MANY: usize = 400;

/// Which lines of a replaced block are one line, changed: pairs of an old and a new
/// line, both in order, such that as much as possible is equal.
pub fn pairs(old: &[&str], new: &[&str], op: &DiffOp) -> Vec<(usize, usize)> {
    let (rows, cols) = (op.old_range(), op.new_range());
    let (n, m) = (rows.len(), cols.len());
    if op.tag() != DiffTag::Replace || n > MANY || m > MANY {
        return vec![];
    }
    let alike = |i: usize, j: usize| {
        let share = alike(old[rows.start + i], new[cols.start + j]);
        if share >= ALIKE { share } else { 0.0 }
    };
    let shares: Vec<Vec<f64>> =
        (0..n).map(|i| (0..m).map(|j| alike(i, j)).collect()).collect();
    // best[i][j]: of the lines from i and j on.
    let mut best = vec![vec![0.0f64; m + 1]; n + 1];
    for i in (0..n).rev() {
        for j in (0..m).rev() {
            let skip = best[i + 1][j].max(best[i][j + 1]);
            best[i][j] = skip.max(best[i + 1][j + 1] + shares[i][j]);
        }
    }
    let (mut i, mut j, mut found) = (0, 0, vec![]);
    while i < n && j < m {
        if best[i][j] == best[i + 1][j] {
            i += 1;
        } else if best[i][j] == best[i][j + 1] {
            j += 1;
        } else {
            found.push((rows.start + i, cols.start + j));
            (i, j) = (i + 1, j + 1);
        }
    }
    found
}

/// How much of two lines is equal, white space aside: from 0 to 1.
fn alike(old: &str, new: &str) -> f64 {
    let (a, b) = (cut(old), cut(new));
    let weight =
        |words: &[&str]| -> usize { words.iter().map(|w| w.trim().len()).sum() };
    let equal: usize = capture_diff_slices(Algorithm::Myers, &a, &b)
        .iter()
        .filter(|op| op.tag() == DiffTag::Equal)
        .map(|op| weight(&a[op.old_range()]))
        .sum();
    match weight(&a) + weight(&b) {
        0 => 0.0,
        all => 2.0 * equal as f64 / all as f64,
    }
}

/// The byte ranges in which two lines differ.
pub fn differing(old: &str, new: &str) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let (a, b) = (cut(old), cut(new));
    let (mut marked_old, mut marked_new) = (vec![], vec![]);
    for op in capture_diff_slices(Algorithm::Myers, &a, &b) {
        if op.tag() != DiffTag::Equal {
            mark(&mut marked_old, old, &a, op.old_range());
            mark(&mut marked_new, new, &b, op.new_range());
        }
    }
    (without_indentation(marked_old, old), without_indentation(marked_new, new))
}

/// How far a line is indented is seen without a mark.
fn without_indentation(marked: Vec<Range<usize>>, line: &str) -> Vec<Range<usize>> {
    let indentation = line.len() - line.trim_start().len();
    let cut = |range: Range<usize>| range.start.max(indentation)..range.end;
    marked.into_iter().map(cut).filter(|range| !range.is_empty()).collect()
}

/// Adds some words of a line; with nothing but space between, marks become one.
fn mark(
    marked: &mut Vec<Range<usize>>,
    line: &str,
    words: &[&str],
    which: Range<usize>,
) {
    let start: usize = words[..which.start].iter().map(|word| word.len()).sum();
    let len: usize = words[which].iter().map(|word| word.len()).sum();
    match marked.last_mut() {
        _ if len == 0 => {}
        Some(last) if line[last.end..start].trim().is_empty() => last.end = start + len,
        _ => marked.push(start..start + len),
    }
}

/// Names and numbers, runs of white space, and every other character by itself.
fn cut(line: &str) -> Vec<&str> {
    let kind = |c: char| match c {
        c if c.is_alphanumeric() || c == '_' => 0,
        c if c.is_whitespace() => 1,
        _ => 2,
    };
    let mut words = vec![];
    let mut start = 0;
    let mut before = None;
    for (at, c) in line.char_indices() {
        let kind = kind(c);
        if at > start && (before != Some(kind) || kind == 2) {
            words.push(&line[start..at]);
            start = at;
        }
        before = Some(kind);
    }
    words.push(&line[start..]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(old: &str, new: &str) -> (Vec<String>, Vec<String>) {
        let (a, b) = differing(old, new);
        let text = |line: &str, ranges: Vec<Range<usize>>| {
            ranges.into_iter().map(|range| line[range].to_string()).collect()
        };
        (text(old, a), text(new, b))
    }

    #[test]
    fn what_was_put_in_is_marked() {
        let (old, new) = marked("y = self.first.go(x);", "y = self.first.go(2.0 * x);");
        assert!(old.is_empty(), "{old:?}");
        assert_eq!(new, ["2.0 * "]);
    }

    #[test]
    fn what_was_exchanged_is_marked_on_both_sides() {
        let (old, new) = marked("let a_b = f(x, y);", "let a_c = f(x, z);");
        assert_eq!(
            (old, new),
            (vec!["a_b".into(), "y".into()], vec!["a_c".into(), "z".into()])
        );
    }

    #[test]
    fn marks_with_only_space_between_are_one() {
        let (old, new) = marked("a b c = 1", "d e c = 1");
        assert_eq!((old, new), (vec!["a b".into()], vec!["d e".into()]));
    }

    #[test]
    fn indentation_is_not_marked() {
        let (old, new) = marked("    },\n", "        },\n");
        assert!(old.is_empty() && new.is_empty(), "{old:?} {new:?}");
        let (_, new) = marked("x = 1\n", "    y = 1\n");
        assert_eq!(new, ["y"]);
    }

    #[test]
    fn a_changed_line_is_found_among_new_ones() {
        let old = ["let y = layer.forward(x);\n"];
        let new = [
            "// Another thing altogether.\n",
            "prepare();\n",
            "let y = layer.forward(x, z);\n",
        ];
        let op = DiffOp::Replace { old_index: 0, old_len: 1, new_index: 0, new_len: 3 };
        assert_eq!(pairs(&old, &new, &op), [(0, 2)]);
        // Lines that have little in common are no pair.
        let op = DiffOp::Replace { old_index: 0, old_len: 1, new_index: 0, new_len: 2 };
        assert_eq!(pairs(&old, &new, &op), []);
    }

    #[test]
    fn every_sign_is_a_word() {
        let (old, new) = marked("f((x))", "f((x)");
        assert_eq!((old, new), (vec![")".into()], vec![]));
    }

    /// Whether a line that takes the place of another is that line, changed.
    fn is_pair(old: &str, new: &str) -> bool {
        let op = DiffOp::Replace { old_index: 0, old_len: 1, new_index: 0, new_len: 1 };
        !pairs(&[old], &[new], &op).is_empty()
    }

    #[test]
    fn space_makes_no_lines_alike() {
        assert!(!is_pair("a          b\n", "c          d\n"));
        assert!(!is_pair("\n", "  \n"));
        assert!(is_pair("a          b\n", "a b\n"));
    }

    #[test]
    fn of_large_blocks_nothing_is_marked() {
        let (old, new) = (vec!["a = 1;\n"; MANY], ["a = 2;\n"]);
        let op = |old_len| DiffOp::Replace {
            old_index: 0,
            old_len,
            new_index: 0,
            new_len: 1,
        };
        assert_eq!(pairs(&old, &new, &op(MANY)).len(), 1);
        let old = vec!["a = 1;\n"; MANY + 1];
        assert_eq!(pairs(&old, &new, &op(MANY + 1)), []);
    }
}
