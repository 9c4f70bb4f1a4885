//! The two ends of the model, where each rank has some words of the vocabulary.
use crate::tensor_parallel::TensorParallel;
use candle_core::{Result, Tensor};
use ops::RowSum;
use params::{Param, Shard};

impl TensorParallel {
    /// This rank's rows of the table `[vocab, hidden]`. All have as many: where they do
    /// not divide, the last ranks' are filled up.
    pub fn table(&self, name: &str, [vocab, hidden]: [usize; 2]) -> Shard {
        let each = vocab.div_ceil(self.group.size());
        let end = |rank| vocab.min(rank * each);
        let rows = end(self.group.rank())..end(self.group.rank() + 1);
        let padding = each - rows.len();
        Shard::whole(name, &[vocab, hidden]).narrow(0, rows).pad(padding)
    }
    /// The rows of the table at `tokens [batch, seq]`: `[batch, seq, hidden]`. A row is
    /// on one rank; the others add zeros to it.
    pub fn embedding(&self, tokens: &Tensor, table: &Param) -> Result<Tensor> {
        self.leave(&ops::embedding(tokens, table)?)
    }
    /// `x [.., hidden]` times the table: `[.., vocab]`, all of it on every rank.
    /// Training has no use for it: [`TensorParallel::loss`].
    pub fn logits(&self, x: &Tensor, table: &Param) -> Result<Tensor> {
        let own = ops::linear(&self.enter(x)?, std::slice::from_ref(table), &[])?;
        let last = own.rank() - 1;
        let all = self.group.all_gather_tensor("logits", &own, last)?;
        all.narrow(last, 0, table.shard().global_shape[0])
    }
    /// `scale` times the sum over the `targets` of the negative log-likelihood in nats.
    /// The ranks exchange three numbers for each token, and no logits.
    pub fn loss(
        &self,
        x: &Tensor,
        table: &Param,
        targets: &[u32],
        scale: f64,
    ) -> Result<Tensor> {
        let combine = |rows: &mut [RowSum]| self.combine(rows);
        ops::head_loss_of_part(&self.enter(x)?, table, targets, scale, combine)
    }
    /// From what this rank's logits of each token come to, to what all ranks' do: the
    /// same bits everywhere.
    fn combine(&self, rows: &mut [RowSum]) -> Result<()> {
        let own: Vec<f64> =
            rows.iter().flat_map(|row| [row.max, row.sum, row.target]).collect();
        let mut all = vec![0.0; own.len() * self.group.size()];
        self.group.all_gather("cross-entropy", &own, &mut all)?;
        for (i, row) in rows.iter_mut().enumerate() {
            let parts =
                || all.chunks_exact(own.len()).map(|part| &part[3 * i..3 * i + 3]);
            let max = parts().fold(f64::NEG_INFINITY, |max, part| max.max(part[0]));
            // Each rank's sum is of exponentials less its own largest.
            let sum = parts().map(|part| part[1] * (part[0] - max).exp()).sum();
            // Zero, where the target is not.
            let target = parts().map(|part| part[2]).sum();
            *row = RowSum { max, sum, target };
        }
        Ok(())
    }
}
