import reactHooks from 'eslint-plugin-react-hooks';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['**/lib/**', '**/*.mjs', '**/style/*.js'] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { 'react-hooks': reactHooks },
    rules: {
      ...reactHooks.configs.recommended.rules,
      eqeqeq: 'error',
      'no-console': 'error',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // names of users are data: nothing may be inserted as HTML
      'no-restricted-syntax': [
        'error',
        {
          selector: 'JSXAttribute[name.name="dangerouslySetInnerHTML"]',
          message: 'render data as text or with SafeHtml'
        },
        { selector: 'AssignmentExpression[left.property.name=/^(inner|outer)HTML$/]', message: 'render data as text' }
      ]
    }
  },
  {
    files: ['**/tests/**'],
    rules: {
      // node:test returns promises that its runner awaits
      '@typescript-eslint/no-floating-promises': 'off',
      // React's renderer without a page is deprecated for want of a successor that needs none
      '@typescript-eslint/no-deprecated': 'off'
    }
  }
);
