/** The panel's place: its side and sections as the settings want, the open section as it was left. */
import type { ILayoutRestorer, JupyterFrontEnd } from '@jupyterlab/application';
import type { ISettingRegistry } from '@jupyterlab/settingregistry';
import type { IStateDB } from '@jupyterlab/statedb';
import type { AppContext } from '../app';
import { hopsIcon } from './icons';
import { HopsPanel, SECTIONS, type Section } from './Panel';
import type { ISource } from './seen';
import { reveal } from './shell';

const STATE = 'hops-magic:panel';
const PLACE = { rank: 650, type: 'Hops' };

export class PanelPlace {
  readonly panel: HopsPanel;
  private readonly _app: JupyterFrontEnd;
  private _side: 'left' | 'right' = 'left';

  constructor(app: JupyterFrontEnd, source: ISource<AppContext>, restorer: ILayoutRestorer | null) {
    this._app = app;
    this.panel = new HopsPanel(source);
    this.panel.id = 'hops-panel';
    this.panel.title.icon = hopsIcon;
    this.panel.title.caption = source.current.trans.__('Features, experiments, models and the cluster');
    app.shell.add(this.panel, this._side, PLACE);
    restorer?.add(this.panel, this.panel.id);
  }

  /** Bring the panel to the front, perhaps with a section, perhaps with the focus in its search. */
  show(section?: Section, focus = false): void {
    reveal(this._app, this.panel.id, this._side);
    this.panel.change({
      ...(section ? { section } : {}),
      ...(focus ? { focus: this.panel.shown.focus + 1 } : {})
    });
  }

  /** Open the section that was open before a reload, and keep the one that is. */
  async remember(state: IStateDB): Promise<void> {
    const [kept] = await Promise.all([state.fetch(STATE), this._app.restored]);
    const section = (kept as { section?: unknown } | undefined)?.section;
    if (SECTIONS.includes(section as Section)) {
      this.panel.change({ section: section as Section });
    }
    this.panel.changed.connect((_, { section: next }) => {
      void state.save(STATE, { section: next });
    });
  }

  async follow(settings: ISettingRegistry, plugin: string): Promise<void> {
    const loaded = await settings.load(plugin);
    const apply = () => {
      const sections = loaded.get('sections').composite as Section[];
      this.panel.change({ sections: sections.length ? sections : SECTIONS });
    };
    apply();
    // a layout that is restored puts the panel where it was
    await this._app.restored;
    const move = () => {
      const side = loaded.get('side').composite as 'left' | 'right';
      if (side !== this._side) {
        const wasVisible = this.panel.isVisible;
        this._side = side;
        this._app.shell.add(this.panel, side, PLACE);
        if (wasVisible) {
          reveal(this._app, this.panel.id, side);
        }
      }
    };
    move();
    loaded.changed.connect(() => {
      apply();
      move();
    });
  }
}
