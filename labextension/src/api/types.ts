/** What the API answers; mirrors `hops_magic/api/*.py`. Times are seconds since the epoch. */
import type { Update } from '../model';
import type { OpenedTrial, StudyUpdate } from '../study';
import type { State } from '../model';

export interface Page<Item> {
  items: Item[];
  total: number;
}

export interface Changed {
  boot: string;
  seq: number;
  topics: string[];
}

export interface Missed extends Changed {
  /** Nobody knows what was missed: all must be asked for anew. */
  reset: boolean;
}

export interface About {
  version: string;
  registry: string;
  features: string;
  catalog: string;
}

export interface GroupRow {
  name: string;
  version: number;
  full_name: string;
  description: string;
  tags: string[];
  rows: number;
  columns: number;
  primary_key: string[];
  event_time: string | null;
  commit: number;
  author: string;
  created_at: number | null;
  updated_at: number | null;
}

export interface Sketch {
  labels: string[];
  counts: number[];
  /** From where to where it reaches; empty where each bar stands for a value. */
  ends: string[];
}

export interface Feature {
  name: string;
  type: string;
  description: string;
  is_key: boolean;
  is_event_time: boolean;
  null_share: number | null;
  sketch: Sketch | null;
}

export interface GroupDetail extends GroupRow {
  features: Feature[];
  versions: number[];
  foreign_keys: string[];
  partition_by: string[];
  location: string;
  rules: string[];
  on_fail: string;
  has_statistics: boolean;
}

export interface CommitRow {
  number: number;
  at: number;
  author: string;
  operation: string;
  rows_added: number;
  rows_changed: number;
  rows_removed: number;
  rows: number;
  source: string;
  run_id: string;
}

/** A group (`column` is empty) or a feature; `text.slice(start, end)` is what matched. */
export interface Hit {
  full_name: string;
  group: string;
  version: number;
  column: string;
  type: string;
  description: string;
  where: 'name' | 'tag' | 'description';
  text: string;
  start: number;
  end: number;
}

export type Cell = number | boolean | string | null;

export interface Table {
  columns: { name: string; type: string }[];
  rows: Cell[][];
  total: number;
}

export interface ColumnStatistics {
  name: string;
  type: string;
  kind: string;
  count: number;
  nulls: number;
  nan: number;
  infinite: number;
  distinct: number | null;
  is_distinct_estimate: boolean;
  min: Cell;
  max: Cell;
  mean: Cell;
  std: number | null;
  /** At 1, 5, 25, 50, 75, 95 and 99 per cent. */
  quantiles: Cell[];
  histogram: { edges: Cell[]; counts: number[] } | null;
  top: { value: Cell; count: number }[];
}

export interface Statistics {
  rows: number;
  columns: ColumnStatistics[];
  /** Of the matrix only what is below its diagonal, and that. */
  correlation: { names: string[]; matrix: (number | null)[][]; left_out: number } | null;
  is_sampled: boolean;
  sample_rows: number;
}

export interface StatisticsDocument {
  statistics: Statistics | null;
}

export interface DiffDocument {
  before: number;
  after: number;
  counts: { added: number; changed: number; removed: number };
  added: Table;
  changed: Table;
  removed: Table;
}

export interface ColumnDrift {
  name: string;
  verdict: string;
  kind: string;
  psi: number | null;
  ks: number | null;
  p_value: number | null;
  chance: number | null;
  nulls_before: number | null;
  nulls_after: number | null;
  mean_before: Cell;
  mean_after: Cell;
  mean_shift: number | null;
  bins: { label: string; before: number; after: number }[];
}

export interface DriftDocument {
  rows_before: number;
  rows_after: number;
  verdict: string;
  columns: ColumnDrift[];
}

export interface ValidationDocument {
  on_fail: string;
  rows: number;
  quarantined: number;
  results: { rule: string; passed: boolean; failing: number; found: string; samples: Record<string, Cell>[] }[];
}

export interface DatasetRow {
  name: string;
  version: number;
  full_name: string;
  description: string;
  rows: Record<string, number>;
  columns: number;
  label: string | null;
  file_format: string;
  author: string;
  created_at: number | null;
}

export interface Source {
  kind: 'feature group' | 'training dataset';
  name: string;
  version: number;
  full_name: string;
  commit: number | null;
  features: string[];
}

export interface DatasetDetail extends DatasetRow {
  features: Feature[];
  versions: number[];
  sources: Source[];
  names: string[];
  location: string;
  splits: Record<string, string>;
  seed: number;
  event_time: string | null;
  /** By group: what was known longer before counts as unknown. */
  max_age_s: Record<string, number>;
}

export interface ExperimentRow {
  name: string;
  created_at: number;
  changed_at: number;
}

export interface Leading {
  name: string;
  direction?: 'minimize' | 'maximize' | '';
  best: number | null;
  last: number | null;
  values: (number | null)[];
}

export interface RunRow {
  run_id: string;
  name: string;
  experiment: string;
  kind: 'run' | 'study' | 'trial';
  state: State;
  is_final: boolean;
  can_stop: boolean;
  is_deleted: boolean;
  reason: string;
  incomplete?: string;
  user: string;
  parent: string;
  created_at: number;
  started_at: number | null;
  ended_at: number | null;
  duration_s: number | null;
  progress: string;
  fraction: number | null;
  leading: Leading | null;
  metrics: Record<string, number | null>;
  /** Metrics whose steps are epochs. */
  by_epoch: string[];
  params: Record<string, string>;
  /** What users say of it. */
  note: string;
  tags: Record<string, string>;
}

export interface RunPage {
  items: RunRow[];
  has_more: boolean;
}

export interface RunDetail extends RunRow {
  options: { options?: Record<string, unknown>; params?: Record<string, unknown> } & Record<string, unknown>;
  /** Runs it again. */
  cell: string;
  captured: { name: string; type: string; size_bytes: number | null; how: string }[];
  environment: Record<string, unknown>;
  inputs: Source[];
  models: { name: string; version: number }[];
  notebook: string;
  facts: Record<string, unknown>;
  end: Record<string, unknown>;
}

/** Characters `start` to `end` of `total`. */
export interface TextPart {
  text: string;
  start: number;
  end: number;
  total: number;
}

export interface Course {
  name: string;
  steps: number[];
  values: (number | null)[];
  at: number[];
  is_thinned: boolean;
}

export interface Comparison {
  runs: RunRow[];
  params: Record<string, (string | null)[]>;
  metrics: Record<string, (number | null)[]>;
  captured: Record<string, (string | null)[]>;
  environment: Record<string, (string | null)[]>;
  source_diff: string;
}

interface Heard {
  cursor: string;
  is_final: boolean;
  /** Whether news come from the run's cluster itself. */
  is_heard: boolean;
  /** When there last was any, by the server's clock. */
  news_at: number | null;
}

export type Live = Heard & ({ kind: 'run'; updates: Update[] } | { kind: 'study'; updates: StudyUpdate[] });

/** Whether the server knows a run that an output of a notebook shows, and its page when it has ended. */
export interface OutputKnown {
  is_known: boolean;
  kind: 'run' | 'study' | null;
  is_final: boolean;
  is_heard: boolean;
  data: Record<string, string>;
}

export type Trial = Omit<OpenedTrial, 'type'>;

export interface ModelRow {
  name: string;
  description: string;
  latest_version: number;
  aliases: Record<string, number>;
  created_at: number;
  changed_at: number;
}

export interface VersionRow {
  name: string;
  version: number;
  run_id: string;
  run_name: string;
  created_at: number;
  aliases: string[];
  metrics: Record<string, number | null>;
  flavour: string;
  size_bytes: number | null;
  /** What the run that made it read. */
  inputs: Source[];
}

export interface WorkerRow {
  name: string;
  address: string;
  host: string;
  threads: number;
  slots: number;
  slots_free: number;
  gpus: string[];
  cpu_percent: number | null;
  memory_bytes: number;
  /** 0 for none. */
  memory_limit_bytes: number;
  in_ranks: RankFigures;
}

/** What the ranks on a worker use together, as far as they have said; CPU is that of one core, GPU an average. */
export interface RankFigures {
  ranks: number;
  cpu_percent: number | null;
  memory_bytes: number | null;
  gpu_percent: number | null;
  gpu_memory_bytes: number | null;
}

export interface Cluster {
  is_running: boolean;
  kind: string;
  address: string;
  dashboard: string;
  /** Below the server's base URL; empty where its proxy does not reach it. */
  dashboard_proxy?: string;
  started_at: number | null;
  slots: number;
  slots_free: number;
  workers: WorkerRow[];
  runs: { run_id: string; name: string; world_size: number; slots: number; queue_position: number | null }[];
  versions: Record<string, string>;
}

export type NodeKind = 'group' | 'dataset' | 'run' | 'model';

export interface Lineage {
  focus: string;
  nodes: { id: string; kind: NodeKind; name: string; label: string; at: number | null; state: string }[];
  edges: { source: string; target: string; features: string[]; commit: number | null }[];
  is_cut: boolean;
}
