/** Words that users read, through JupyterLab's translator where there is one. */
import { createContext, useContext } from 'react';

/** The part of JupyterLab's `TranslationBundle` that the components use. */
export interface Translator {
  __: (text: string, ...values: (string | number)[]) => string;
}

/** English as written. */
export const english: Translator = {
  __: (text, ...values) => text.replace(/%(\d)/g, (_, index) => String(values[Number(index) - 1] ?? ''))
};

export const TranslatorContext = createContext<Translator>(english);

export function useTranslator(): Translator {
  return useContext(TranslatorContext);
}
