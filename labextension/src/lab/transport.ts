/** The API over HTTP, with the page's own stream of events. */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection, type Event, type ServiceManager } from '@jupyterlab/services';
import { queryText, type Answer, type Method, type Query, type Transport } from '../api/client';
import type { Changed } from '../api/types';

const PREFIX = 'hops/api/v1';
const EVENT = 'https://hops-magic.dev/events/changed';

export class HttpTransport implements Transport {
  private readonly _settings: ServerConnection.ISettings;
  private readonly _services: ServiceManager.IManager;

  constructor(services: ServiceManager.IManager) {
    this._settings = services.serverSettings;
    this._services = services;
  }

  async request(method: Method, path: string, query: Query, body: unknown, signal?: AbortSignal): Promise<Answer> {
    const text = queryText(query);
    const url = URLExt.join(this._settings.baseUrl, PREFIX) + path + (text ? `?${text}` : '');
    const init: RequestInit = signal ? { method, signal } : { method };
    if (body !== undefined) {
      init.body = JSON.stringify(body);
      init.headers = { 'Content-Type': 'application/json' };
    }
    const response = await ServerConnection.makeRequest(url, init, this._settings);
    const told = await response.text();
    return { status: response.status, body: told ? (JSON.parse(told) as unknown) : null };
  }

  listen(onChanged: (changed: Changed) => void, onConnection: (isLive: boolean) => void): () => void {
    const { events, connectionFailure } = this._services;
    const hear = (_: Event.IManager, emission: Event.Emission) => {
      if (emission.schema_id === EVENT) {
        const { boot, seq, topics } = emission as unknown as Changed;
        onChanged({ boot, seq, topics });
      }
    };
    // the stream does not tell when it ends; the page, which asks for its kernels all the time, does
    const lose = () => {
      onConnection(false);
    };
    events.stream.connect(hear);
    connectionFailure.connect(lose);
    return () => {
      events.stream.disconnect(hear);
      connectionFailure.disconnect(lose);
    };
  }
}
