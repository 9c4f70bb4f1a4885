//! Other words in one document must change nothing in the next; and what corpus makes.
use crate::answer::ex8_packed_documents::*;
use candle_core::DType;
use ch01_single_gpu::model::Transformer;
use corpus::{Batch, Corpus, IGNORE, Options, Tokenizer};
use hub::{Family, ModelConfig};
use params::ParamBuilder;

const SEQ_LEN: usize = 12;
const VOCAB: usize = 16;
const END: u32 = 0;

/// The logits of a row, `[seq_len][vocab]`, by a decoder of two layers.
fn logits(row: &[u32]) -> Vec<Vec<f64>> {
    let config = ModelConfig {
        vocab_size: VOCAB,
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 8,
        initializer_range: 0.3,
        ..ModelConfig::defaults(Family::Llama)
    };
    let mut builder = ParamBuilder::new(1, DType::F64);
    let model = Transformer::new(&config, SEQ_LEN, DType::F64, &mut builder).unwrap();
    builder.build(1).unwrap();
    let (targets, starts) = isolate(row, END);
    let tokens = row[..SEQ_LEN].to_vec();
    let document_starts = Some(starts);
    let batch = Batch { rows: 1, seq_len: SEQ_LEN, tokens, targets, document_starts };
    match model.logits(&batch) {
        Ok(logits) => logits.squeeze(0).unwrap().to_vec2().unwrap(),
        Err(error) => panic!("the model cannot take this row: {error}"),
    }
}

#[test]
fn a_document_does_not_see_the_one_before() {
    let row = [4, 7, 2, 9, END, 5, 3, 8, END, 6, 1, 2, 4];
    let mut other = row;
    other[..4].copy_from_slice(&[1, 1, 12, 3]);
    let (logits, changed) = (logits(&row), logits(&other));
    let most = |at: usize| {
        let pairs = logits[at].iter().zip(&changed[at]);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    for at in 5..SEQ_LEN {
        let (document, most) = (if at < 9 { "second" } else { "third" }, most(at));
        assert!(
            most == 0.0,
            "only the words of the first document were changed, but the logits at \
             position {at}, in the {document}, changed by up to {most:.1e}: a packed \
             document sees the one before it"
        );
    }
    assert!(
        (0..5).all(|at| most(at) > 0.0),
        "the words of the first document were changed, but not its own logits: does \
         each token see its own document, the end token included?"
    );
}

/// Rows that begin and end anywhere, documents of one token and of none.
#[test]
fn corpus_makes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("documents.jsonl");
    let lengths = [7, 0, 1, 19, 3, 0, 0, 11, 2, 30, 5, 1, 1, 8, 4, 6, 25, 9];
    let lines =
        lengths.map(|len| format!("{{\"text\": \"{}\"}}\n", "word ".repeat(len)));
    std::fs::write(&file, lines.concat()).unwrap();
    let options = Options {
        files: vec![file],
        seq_len: SEQ_LEN,
        workers: 1,
        isolate_documents: true,
        quiet: true,
        ..Options::default()
    };
    let data = Corpus::open(&options, &Tokenizer::Bytes).unwrap().train;
    let end = Tokenizer::Bytes.end_of_document();
    let rows = data.sequences();
    let mut ends = 0;
    for number in 0..rows {
        let want = data.batch(number, 1).unwrap();
        // The target of the last token does not show in the batch if it is ignored.
        let last = want.targets[SEQ_LEN - 1];
        let last = if last == IGNORE { end } else { last };
        let (targets, starts) = isolate(&[&want.tokens[..], &[last]].concat(), end);
        let tokens = &want.tokens;
        ends += tokens.iter().filter(|token| **token == end).count();
        let want_starts = want.document_starts.as_ref().unwrap();
        assert!(
            starts == *want_starts,
            "the row {tokens:?}, where {end} ends a document: the documents start at\n \
             {starts:?}, in corpus at\n {want_starts:?}"
        );
        assert!(
            targets == want.targets,
            "the row {tokens:?}, where {end} ends a document: the targets are\n \
             {targets:?}, in corpus\n {:?}",
            want.targets
        );
    }
    assert!(ends > 0 && rows > 20, "{rows} rows with {ends} ends show nothing");
}
