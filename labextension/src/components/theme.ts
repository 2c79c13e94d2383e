import { useEffect, useState } from 'react';

/** A number that changes when the page's theme does: canvases take their colours once. */
export function useThemeChanges(): number {
  const [changes, setChanges] = useState(0);
  useEffect(() => {
    const observer = new MutationObserver(() => {
      setChanges(count => count + 1);
    });
    observer.observe(document.body, {
      attributes: true,
      attributeFilter: ['data-jp-theme-light', 'data-jp-theme-name']
    });
    return () => {
      observer.disconnect();
    };
  }, []);
  return changes;
}
