import type { ReactNode } from 'react';
import { amount, whole } from '../format';
import type { Rank } from '../model';
import { type Translator, useTranslator } from '../translate';

interface Props {
  ranks: Rank[];
  /** Figures of the last moment say nothing of a run that has ended: then means and peaks are told. */
  isFinal?: boolean;
}

/** One row a rank: where it runs, how far it is, how fast, and what it uses. */
export function Ranks({ ranks, isFinal = false }: Props): ReactNode {
  const trans = useTranslator();
  if (!ranks.length) {
    return null;
  }
  const rows = isFinal ? ranks.map(overall) : ranks;
  const has: Columns = {
    // what no rank tells has no column
    progress: rows.some(rank => rank.phase),
    speed: rows.some(rank => rank.examples_per_s !== null),
    cpu: rows.some(rank => rank.cpu_percent !== null),
    memory: rows.some(rank => rank.memory_bytes !== null),
    gpus: rows.some(rank => rank.gpu_percent !== null || rank.gpus.length > 0)
  };
  return (
    <div className="hops-ranks" role="region" aria-label={trans.__('Ranks')} tabIndex={0}>
      <table className={has.progress ? '' : 'hops-narrow'}>
        <thead>
          <tr>
            <th scope="col">{trans.__('rank')}</th>
            {has.progress && (
              <th scope="col" className="hops-wide">
                {trans.__('progress')}
              </th>
            )}
            {has.speed && <th scope="col">{isFinal ? trans.__('examples/s, mean') : trans.__('examples/s')}</th>}
            {has.cpu && <th scope="col">{isFinal ? trans.__('CPU, mean') : trans.__('CPU')}</th>}
            {has.memory && <th scope="col">{isFinal ? trans.__('memory, most') : trans.__('memory')}</th>}
            {has.gpus && <th scope="col">{isFinal ? trans.__('GPU, mean') : trans.__('GPU')}</th>}
            <th scope="col" className="hops-left">
              {trans.__('where')}
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map(rank => (
            <RankRow key={rank.rank} rank={rank} has={has} isFinal={isFinal} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Which columns the table has. */
interface Columns {
  progress: boolean;
  speed: boolean;
  cpu: boolean;
  memory: boolean;
  gpus: boolean;
}

/** The rank with what it did over its whole time in the place of its last moment. */
function overall(rank: Rank): Rank {
  return {
    ...rank,
    examples_per_s: rank.examples !== null && rank.train_s ? rank.examples / rank.train_s : rank.examples_per_s,
    cpu_percent: rank.mean_cpu_percent,
    memory_bytes: rank.peak_memory_bytes,
    gpu_percent: rank.mean_gpu_percent,
    gpu_memory_bytes: rank.peak_gpu_memory_bytes
  };
}

function RankRow({ rank, has, isFinal }: { rank: Rank; has: Columns; isFinal: boolean }): ReactNode {
  const trans = useTranslator();
  const where = rank.host || rank.worker;
  return (
    <tr className={rank.alive ? '' : 'hops-gone'}>
      <th scope="row">{rank.rank}</th>
      {has.progress && (
        <td className="hops-wide">
          <Progress rank={rank} isFinal={isFinal} />
        </td>
      )}
      {has.speed && <td>{rank.examples_per_s === null ? '' : whole(rank.examples_per_s)}</td>}
      {has.cpu && <td>{rank.cpu_percent === null ? '' : `${Math.round(rank.cpu_percent)} %`}</td>}
      {has.memory && <td>{rank.memory_bytes === null ? '' : amount(rank.memory_bytes)}</td>}
      {has.gpus && <td>{gpu(rank)}</td>}
      <td className="hops-left hops-where" title={rank.worker}>
        <bdi>{rank.pid === null ? where : trans.__('%1, process %2', where, rank.pid)}</bdi>
      </td>
    </tr>
  );
}

function gpu(rank: Rank): string {
  const use = rank.gpu_percent === null ? '' : `${Math.round(rank.gpu_percent)} %`;
  const memory = rank.gpu_memory_bytes === null ? '' : amount(rank.gpu_memory_bytes);
  return [use, memory].filter(Boolean).join(', ') || rank.gpus.join(', ');
}

/** The bar is the epoch under way: the line under the headline tells of the whole run. Of a run that is over, its epochs are told. */
function Progress({ rank, isFinal }: { rank: Rank; isFinal: boolean }): ReactNode {
  const trans = useTranslator();
  if (isFinal && rank.epoch) {
    return <Bar rank={rank} share={rank.epochs ? rank.epoch / rank.epochs : 1} words={epochsOf(rank, trans)} />;
  }
  if (!rank.phase) {
    // plain Python, or before the first step
    return null;
  }
  const isOver = rank.epochs !== null && rank.epoch >= rank.epochs;
  const fraction = isOver ? 1 : rank.steps ? Math.min(1, rank.step / rank.steps) : 0;
  const words: string[] = [];
  if (rank.phase !== 'fit') {
    words.push(rank.phase);
  } else {
    const current = isOver ? rank.epoch : rank.epoch + 1;
    words.push(rank.epochs === null ? trans.__('epoch %1', current) : trans.__('epoch %1/%2', current, rank.epochs));
  }
  if (rank.step && !isOver) {
    words.push(rank.steps === null ? trans.__('step %1', rank.step) : trans.__('step %1/%2', rank.step, rank.steps));
  }
  return <Bar rank={rank} share={fraction} words={words.join(', ')} />;
}

function epochsOf(rank: Rank, trans: Translator): string {
  return rank.epochs === null ? trans.__('epoch %1', rank.epoch) : trans.__('epoch %1/%2', rank.epoch, rank.epochs);
}

function Bar({ rank, share, words }: { rank: Rank; share: number; words: string }): ReactNode {
  const trans = useTranslator();
  const percent = 100 * Math.min(1, share);
  return (
    <div className="hops-progress">
      <div
        className="hops-bar"
        role="progressbar"
        aria-label={trans.__('Progress of rank %1', rank.rank)}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(percent)}
      >
        <div style={{ width: `${percent}%` }} />
      </div>
      <span>{words}</span>
    </div>
  );
}
