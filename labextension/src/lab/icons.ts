import { LabIcon } from '@jupyterlab/ui-components';

const icon = (name: string, body: string) =>
  new LabIcon({
    name: `hops-magic:${name}`,
    svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">${body}</svg>`
  });

/** Leaves of a hop cone. */
export const hopsIcon = icon(
  'hops',
  '<g class="jp-icon3" fill="#616161"><path d="M12 2c1.2 1 2 2 2.4 3.2A5 5 0 0 1 12 8a5 5 0 0 1-2.4-2.8C10 4 10.800 3 12 2z"/><path d="M6.200 6.200c2 .1 3.700.7 5 2.100v4.200c-2.300-.4-4.200-1.600-5-3.400z"/><path d="M17.800 6.200c-2 .1-3.700.7-5 2.100v4.200c2.300-.4 4.200-1.600 5-3.400z"/><path d="M6.600 11.200c1.600 1.300 3 2 4.600 2.400v4c-2.300-.6-4-1.900-4.600-3.600z"/><path d="M17.400 11.200c-1.600 1.300-3 2-4.600 2.400v4c2.300-.6 4-1.900 4.600-3.600z"/><path d="M8.400 17c1 .9 2.200 1.500 3.600 1.800 1.400-.3 2.600-.9 3.600-1.800-.4 2.200-1.600 3.900-3.600 5-2-1.100-3.200-2.800-3.600-5z"/></g>'
);
